import pytest

from boundaryloss.files.errors import UserError
from boundaryloss.training.task import Task

FULL = Task(
    channels=2,
    label_values=(0, 3, 7),
    spacing=(0.5, 0.5),
    patch=(32, 32),
    padded=True,
    regions=((1, 2), (2,)),
    painted=(1, 2),
    ignore_value=255,
    windows=((-100.0, 250.0), ()),
    by_type=(False, True),
    slicewise=True,
    numbered=True,
    fingerprint="a3",
)


@pytest.mark.parametrize("task", [FULL, Task(1, (0, 1), (1.0, 1.0, 2.0))])
def test_task_comes_back_from_plain_values(task):
    values = task.as_dict()
    assert Task.from_dict(values, "x") == task and None not in values.values()
    assert not any(isinstance(value, tuple) for value in values.values())


def test_task_from_dict_refuses_what_another_version_wrote():
    values = FULL.as_dict()
    with pytest.raises(UserError, match=r"last\.ckpt was made by another version .*lacks 'painted'"):
        Task.from_dict({key: value for key, value in values.items() if key != "painted"}, "last.ckpt")
    with pytest.raises(UserError, match=r"has 'ignore', which is unknown here"):
        Task.from_dict({**values, "ignore": True}, "last.ckpt")


def test_task_tells_the_networks_outputs_and_the_images_axes():
    assert (FULL.num_classes, FULL.outputs, FULL.image_axes) == (3, 2, 3)
    assert (Task(1, (0, 3, 7), (1.0, 1.0)).outputs, Task(1, (0, 3), (1.0, 1.0)).image_axes) == (3, 2)


@pytest.mark.parametrize(
    ("more", "masked"), [({}, False), ({"ignore_value": 9}, True), ({"padded": True}, True)]
)
def test_task_is_masked_where_a_loss_has_to_leave_voxels_out(more, masked):
    assert Task(1, (0, 1), (1.0, 1.0), **more).masked == masked
