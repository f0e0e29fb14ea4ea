"""Connected components of masks, held against SciPy's; numbered by their first voxel on every backend."""

import numpy as np
import pytest
import torch
from gpu import DEVICE
from levels import at_every_level
from masks import gallery

from boundaryloss.distance import op, reference, trials

ndimage = pytest.importorskip("scipy.ndimage")

try:
    from boundaryloss.distance import cuda_components
except ModuleNotFoundError:  # no Triton
    cuda_components = None


needs_triton = pytest.mark.skipif(cuda_components is None, reason="needs Triton")


def by_scipy(masks):
    """SciPy's components, each under the index of its first voxel plus 1."""
    labels = np.zeros(masks.shape, dtype=np.int32)
    for image in np.ndindex(*masks.shape[:2]):
        mask = masks[image].numpy()
        found, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        first = np.zeros(count + 1, dtype=np.int32)
        number, where = np.unique(found, return_index=True)
        first[number] = where + 1
        first[0] = 0
        labels[image] = first[found]
    return torch.from_numpy(labels)


def random_masks(shape, density, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density


def spiral(side):
    """One thread from the rim to the middle, that never touches itself."""
    mask = np.zeros((side, side), dtype=bool)
    y, x, dy, dx = 0, 0, 0, 1
    for length in (side, *(n for n in range(side - 1, 1, -2) for _ in "12")):
        for _ in range(length - 1):
            mask[y, x] = True
            y, x = y + dy, x + dx
        dy, dx = dx, -dy
    mask[y, x] = True
    return torch.from_numpy(mask)


def comb(side):
    """Teeth that only the last row joins, so that all roots change at the end."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


SHAPES = {
    **gallery(),
    "checkerboard": (torch.arange(11)[:, None] + torch.arange(9)) % 2 == 0,
    "checkerboard_3d": (torch.arange(5)[:, None, None] + torch.arange(4)[:, None] + torch.arange(7)) % 2 == 0,
    "apart": torch.arange(12)[:, None] * torch.arange(13) % 2 == 1,
    "spiral": spiral(29),
    "comb": comb(70),
    "comb_upside_down": comb(70).flip(0),
    "one_voxel_wide": random_masks((40, 1, 1), 0.5),
    "beyond_a_word": random_masks((3, 193), 0.8),
    "ends_with_a_word": torch.arange(128).expand(2, 128) >= 63,
}


BIG = [name for name, mask in SHAPES.items() if mask.numel() > 1500 and name != "comb"]  # for the interpreter


@pytest.mark.parametrize("name", SHAPES)
def test_components_are_scipy_s(name):
    masks = SHAPES[name][None, None]
    expected = by_scipy(masks)
    assert torch.equal(at_every_level(op.components, masks), expected)
    assert torch.equal(reference.components(masks), expected)


@pytest.mark.parametrize("seed", range(40))
def test_components_of_random_masks_are_scipy_s(seed):
    draw = np.random.default_rng(seed)
    axes = draw.integers(2, 4)
    shape = [*draw.integers(1, 4, 2), *draw.integers(1, 140 if axes == 2 else 30, axes)]
    masks = random_masks(shape, draw.choice([0.02, 0.2, 0.3, 0.4, 0.6, 0.95]), seed)
    assert torch.equal(op.components(masks), by_scipy(masks))


@pytest.mark.parametrize(
    "shape", [(1, 1, 601, 907), (1, 1, 131, 71, 67), (1, 1, 3, 501, 401), (1, 2, 997, 601)]
)
@pytest.mark.parametrize("density", [0.2, 0.4])
def test_components_do_not_depend_on_threads(shape, density):
    masks = random_masks(shape, density)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):  # a mask of its own for each, or one cut into slabs
            torch.set_num_threads(count)
            assert torch.equal(op.components(masks), by_scipy(masks))
    finally:
        torch.set_num_threads(threads)


def test_components_take_masks_that_are_not_contiguous():
    masks = random_masks((2, 9, 10, 3), 0.4).movedim(-1, 1)[..., ::2]
    assert torch.equal(op.components(masks), by_scipy(masks))


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4)])
def test_components_of_no_masks_are_none(shape):
    assert op.components(torch.zeros(shape, dtype=torch.bool)).shape == shape


def test_components_of_tensors_without_values():
    labels = op.components(torch.zeros(2, 3, 4, 5, dtype=torch.bool, device="meta"))
    assert labels.shape == (2, 3, 4, 5)
    assert labels.dtype == torch.int32


def test_components_of_more_voxels_than_numbers_are_refused():
    masks = torch.zeros(1, dtype=torch.bool).expand(1, 1, 2**11, 2**10, 2**10)
    with pytest.raises(ValueError, match="less than 2"):
        op.components(masks)


QUICK = ("hollow", "thin_diagonal", "apart", "full_3d", "flat_3d")


@needs_triton
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SHAPES if n not in BIG]
)
def test_components_by_the_kernels_are_the_reference_s(name):
    masks = SHAPES[name][None, None]
    assert torch.equal(cuda_components.components(masks.to(DEVICE)).cpu(), by_scipy(masks))


@needs_triton
@pytest.mark.parametrize(
    ("shape", "density"),
    [
        ((2, 1, 5, 4), 0.4),
        ((1, 2, 3, 3, 4), 0.2),
        ((1, 1, 3, 37), 0.7),
        ((1, 1, 3, 1, 6), 0.5),
        ((0, 2, 3, 4), 0),
    ],
)
def test_components_by_the_kernels_of_batches_are_the_reference_s(shape, density):
    masks = random_masks(shape, density).transpose(-1, -2)  # not contiguous
    assert torch.equal(cuda_components.components(masks.to(DEVICE)).cpu(), by_scipy(masks))


@needs_triton
def test_components_by_the_kernels_pass_their_trial():
    trials.components(torch.device(DEVICE))
