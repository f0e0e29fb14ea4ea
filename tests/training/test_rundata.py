import pytest

from boundaryloss.files.errors import UserError
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.patches import choose_patch

DYNUNET = {"network": "dynunet", "features": (4, 8, 8)}
HIPPOCAMPI = [(34, 47, 33), (36, 50, 37), (40, 55, 39)]


@pytest.mark.parametrize(
    ("shapes", "settings", "patch"),
    [
        (HIPPOCAMPI, {}, (48, 64, 48)),
        ([(240, 240, 155)], {}, (96, 96, 96)),
        ([(100, 120, 11)], DYNUNET, (96, 96, 11)),
        ([(100, 120, 11)], {}, (96, 96, 16)),
        ([(40, 70, 37)], {"augment": ("rotate90",)}, (80, 80, 48)),
        ([(300, 260)], {"dimensions": 2}, (256, 256)),
        (HIPPOCAMPI, {"patch": (64, 64, 64)}, (64, 64, 64)),
    ],
)
def test_choose_patch_of_volumes_covers_the_median_up_to_a_limit(shapes, settings, patch):
    assert choose_patch(shapes, TrainConfig(**settings), volumes=True) == patch


@pytest.mark.parametrize(
    ("shapes", "settings", "patch"),
    [
        ([(200, 230)] * 3, {}, None),
        ([(200, 230)] * 3, {"augment": ("rotate90",)}, (240, 240)),
        ([(200, 230)] * 3, {**DYNUNET, "deep_supervision": "full"}, (208, 240)),
        ([(208, 240)] * 3, {**DYNUNET, "deep_supervision": "full"}, None),
        ([(17, 3)], {}, None),
        ([(100, 230), (90, 300), (500, 700)], {}, (112, 256)),
    ],
)
def test_choose_patch_of_slices_is_whole_if_they_have_one_size(shapes, settings, patch):
    assert choose_patch(shapes, TrainConfig(**settings), volumes=False) == patch


def test_choose_patch_refuses_slices_that_cannot_be_halved_four_times():
    with pytest.raises(UserError, match=r"slices of 16 x 12 pixels.*patch = \[32, 32\]"):
        choose_patch([(16, 12)] * 2, TrainConfig(), volumes=False)
