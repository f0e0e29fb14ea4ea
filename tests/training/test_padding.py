import pytest
import torch
from datasets import task

from boundaryloss import signed_distance_map
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.padding import cut_back, pad_edges
from boundaryloss.training.model.networks import make_inferer, make_network, plan_levels, run_whole


def test_pad_edges_repeats_what_is_outermost_and_cut_back_inverts():
    values = torch.arange(6).reshape(1, 2, 3)
    padded = pad_edges(values, (3, 6))
    assert padded.tolist() == [[[0, 0, 1, 2, 2, 2], [3, 3, 4, 5, 5, 5], [3, 3, 4, 5, 5, 5]]]
    assert torch.equal(cut_back(padded, (2, 3)), values)
    assert pad_edges(values, (1, 3)) is values


@pytest.mark.parametrize("contour", ["faces", "centers"])
@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 4)])
def test_pad_edges_changes_no_distance(shape, contour):
    labels = torch.randint(0, 6, (4, *shape), generator=torch.Generator().manual_seed(0))
    padded = pad_edges(labels, tuple(2 * n + 3 for n in shape))
    phi = signed_distance_map(padded, 6, contour=contour)
    torch.testing.assert_close(cut_back(phi, shape), signed_distance_map(labels, 6, contour=contour))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (16, 40), (17, 31), (32, 48)])
@pytest.mark.parametrize("network", ["basicunet", "dynunet"])
def test_run_whole_takes_any_size_and_shows_the_network_no_zeros(network, size):
    config = TrainConfig(network=network, features=(4,) * 5)
    net = make_network(config, task()).eval()
    seen = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits = run_whole(net, torch.ones(1, 1, *size))
    assert logits.shape == (1, 2, *size) and logits.isfinite().all()
    assert (seen[0] == 1).all() and all(n % 16 == 0 for n in seen[0].shape[2:])


@pytest.mark.parametrize("slicewise", [False, True])
def test_make_inferer_shows_windows_larger_than_the_image_no_zeros(slicewise):
    seen = []

    def network(windows):
        seen.append(windows.clone())  # MONAI weights what is returned in place
        return windows

    image = torch.ones(1, 1, 20, 40, *([3] if slicewise else []))
    inferer = make_inferer(task(patch=(32, 32), slicewise=slicewise), 2)
    assert inferer is not None and torch.allclose(inferer(image, network), image)
    assert all(windows.shape[2:] == (32, 32) and (windows == 1).all() for windows in seen)


def test_plan_levels_halves_the_long_axes_of_a_thin_volume():
    strides, kernels = plan_levels((48, 48, 3), (1.0, 1.0, 1.0), 5)
    assert strides == [[1, 1, 1], *[[2, 2, 1]] * 3]
    assert kernels == [[3, 3, 3]] * 4
