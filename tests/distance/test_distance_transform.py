import pytest
import torch
from levels import at_every_level
from masks import gallery

from boundaryloss import distance_transform
from boundaryloss.distance import op, reference


@pytest.mark.parametrize("name", [name for name, mask in gallery().items() if not mask.all()])
def test_distance_transform_agrees_with_scipy(name):
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = gallery()[name]
    for spacing in ((1,) * mask.ndim, (0.7, 2.5, 1.1)[: mask.ndim]):
        expected = torch.from_numpy(ndimage.distance_transform_edt(mask.numpy(), sampling=spacing)).float()
        exact = set(spacing) == {1}
        for ours in (
            at_every_level(distance_transform, mask, spacing=spacing),
            reference.distance_transform(mask[None], spacing)[0],
        ):
            torch.testing.assert_close(ours, expected, rtol=0 if exact else 1e-6, atol=0)


def test_distance_transform_is_batched_over_leading_axes():
    masks = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0)) < 0.8
    ours = distance_transform(masks)
    for i in range(2):
        for j in range(3):
            assert torch.equal(ours[i, j], distance_transform(masks[i, j]))
    assert torch.equal(distance_transform(masks[0], spacing=(1, 1)), ours[0])


def test_distance_transform_without_background_is_infinite():
    assert distance_transform(torch.ones(1, 1, 3, 4, 5, dtype=torch.bool)).isinf().all()
    assert reference.distance_transform(torch.ones(1, 3, 4, dtype=torch.bool), (1.0, 1.0)).isinf().all()


def test_distance_transform_op_passes_opcheck():
    mask = gallery()["salt"][None]
    torch.library.opcheck(op.distance_transform, (mask, [1.0, 2.0]))
    torch.library.opcheck(op.distance_transform, (mask.transpose(1, 2), [1.0, 2.0]))


@pytest.mark.parametrize(
    ("mask", "keywords", "error", "message"),
    [
        (torch.zeros(3, 4), {}, TypeError, r"mask\.bool\(\)"),
        (torch.zeros(3, 4, 5, dtype=torch.bool), {}, ValueError, "which axes"),
        (torch.zeros(4, dtype=torch.bool), {}, ValueError, "which axes"),
        (torch.zeros(4, 4, dtype=torch.bool), {"spacing": (1, 1, 1)}, ValueError, "3 of 2"),
        (torch.zeros(4, 4, dtype=torch.bool), {"spacing": (1,)}, ValueError, "2 or 3 spatial axes"),
        (torch.zeros(4, 0, dtype=torch.bool), {}, ValueError, "at least one voxel"),
        (torch.zeros(4, 4, dtype=torch.bool), {"spacing": (1, 0)}, ValueError, "positive"),
    ],
)
def test_distance_transform_refuses(mask, keywords, error, message):
    with pytest.raises(error, match=message):
        distance_transform(mask, **keywords)
