"""`LogBoundaryLoss(balance_lesions=True)`: every component of the truth has the same total weight."""

import numpy as np
import pytest
import torch
from levels import at_every_level
from torch.nn.functional import one_hot, softplus

from boundaryloss import LogBoundaryLoss, signed_distance_map
from boundaryloss.distance import op, reference
from boundaryloss.losses import lesions

ndimage = pytest.importorskip("scipy.ndimage")


def blobs(shape=(2, 24, 26), classes=3, seed=0):
    """Labels with lesions of several sizes, some of which touch."""
    generator = np.random.default_rng(seed)
    labels = torch.zeros(shape, dtype=torch.long)
    for image in labels:
        for _ in range(9):
            size = generator.integers(1, 7, len(shape) - 1)
            corner = [generator.integers(0, n) for n in shape[1:]]
            box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
            image[box] = int(generator.integers(1, classes))
    return labels


def new_logits(labels, channels=3, seed=0, **options):
    shape = (labels.shape[0], channels, *labels.shape[1:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options).requires_grad_()


def lesion_factors(weight, mask):
    """By the native code and by plain PyTorch, as on a GPU."""
    inside = weight < 0 if mask is None else (weight < 0) & mask
    factors = at_every_level(lesions.lesion_factors, -weight, inside)
    plain = reference.component_factors(-weight, op.components(inside), lesions.MOST)
    torch.testing.assert_close(factors, plain, rtol=1e-7, atol=0)
    return factors


def by_formula(log_odds, phi, saturation=2.0):
    """The loss of every voxel as the docstring says it, one class and one component after the other."""
    weight = torch.empty_like(phi)
    for c in range(phi.shape[1]):
        size, inside = (phi[:, c].abs() / saturation).tanh(), phi[:, c] < 0
        lesions = []
        for b, image in enumerate(inside.numpy()):
            found, count = ndimage.label(image, np.ones((3,) * image.ndim))
            lesions += [(b, torch.from_numpy(found == k)) for k in range(1, count + 1)]
        totals = [size[b][lesion].sum() for b, lesion in lesions]
        for (b, lesion), total in zip(lesions, totals, strict=True):
            size[b][lesion] *= (sum(totals) / len(totals) / total).clamp(0.1, 10)
        wrong = torch.where(inside, -log_odds[:, c], log_odds[:, c]).sigmoid()
        lift = (size * wrong)[~inside].sum() / (size * wrong)[inside].sum()
        weight[:, c] = torch.where(inside, size * lift.clamp(1, 4), size)
    return weight * softplus(torch.where(phi < 0, -log_odds, log_odds))


@pytest.mark.parametrize("shape", [(2, 24, 26), (2, 9, 11, 10)])
def test_lesion_balance_is_its_formula(shape):
    labels = blobs(shape)
    spacing = (1.0, 2.0, 0.7)[: len(shape) - 1]
    logits = new_logits(labels)
    phi = signed_distance_map(labels, 3, spacing=spacing)
    p = logits.detach().softmax(1)[:, 1:].double()
    options = {"saturation": 3.0, "spacing": spacing, "balance_lesions": True, "reduction": "none"}
    expected = by_formula(p.logit(), phi.double(), 3.0).float()
    torch.testing.assert_close(LogBoundaryLoss(**options)(logits, labels), expected)
    masks = one_hot(labels, 3).movedim(-1, 1).bool()
    torch.testing.assert_close(LogBoundaryLoss(**options)(logits, masks), expected)
    torch.testing.assert_close(LogBoundaryLoss(**options).from_map(logits, phi), expected)
    unbalanced = LogBoundaryLoss(**options | {"balance_lesions": False})(logits, labels)
    assert not torch.allclose(unbalanced, expected)


def test_lesion_balance_gives_every_lesion_the_same_total():
    labels = blobs(classes=2)
    weight = torch.where(labels == 1, -0.5, 1.0)[:, None]
    scaled = (weight * lesion_factors(weight, None)).numpy()[:, 0]
    assert (scaled[labels == 0] == 1).all()
    totals = []
    for image, mask in zip(scaled, labels.numpy(), strict=True):
        found, count = ndimage.label(mask, np.ones((3, 3)))
        totals += list(ndimage.sum_labels(image, found, range(1, count + 1)))
    assert len(totals) > 5
    assert totals == pytest.approx([totals[0]] * len(totals))
    assert sum(totals) == pytest.approx(-0.5 * int(labels.sum()))  # and the inside of the batch its own


def test_lesion_balance_is_limited_to_a_factor_of_ten():
    weight = torch.ones(1, 1, 40, 60)
    weight[..., :40, 10:] = -1
    weight[..., 0, 0] = weight[..., 5, 5] = -1
    factors = lesion_factors(weight, None)
    assert factors[0, 0, 0, 0] == 10
    weight[..., ::2, 0:8:2] = -1
    assert lesion_factors(weight, None)[0, 0, 20, 30] == pytest.approx(0.1)


def test_lesion_balance_looks_at_overlapping_masks_one_by_one():
    masks = torch.zeros(1, 2, 8, 9, dtype=torch.bool)
    masks[0, 0, 1:7, 1:8] = True
    masks[0, 1, 2, 2] = masks[0, 1, 5, 4:7] = True
    logits = new_logits(masks[:, 0], 2)
    loss = LogBoundaryLoss(activation="sigmoid", balance_lesions=True, reduction="none")
    together = loss(logits, masks)
    for c in range(2):
        torch.testing.assert_close(together[:, [c]], loss(logits[:, [c]], masks[:, [c]]))


def test_lesion_balance_takes_the_mean_over_the_batch():
    one, other = blobs((1, 24, 26), 2), blobs((1, 24, 26), 2, seed=5)
    both = torch.where(torch.cat([one, other])[:, None] == 1, -1.0, 1.0)
    totals = [ndimage.label(m.numpy(), np.ones((3, 3)))[1] for m in (one[0], other[0])]
    mean = int((both < 0).sum()) / sum(totals)
    inside = both[1:] < 0
    ratio = lesion_factors(both, None)[1:][inside] / lesion_factors(both[1:], None)[inside]
    expected = torch.full_like(ratio, mean / (int(inside.sum()) / totals[1]))
    torch.testing.assert_close(ratio, expected)


def test_lesion_balance_without_lesions_changes_nothing():
    absent = torch.zeros(2, 7, 6, dtype=torch.long)
    logits = new_logits(absent, 2)
    for labels in (absent, absent + 1):  # of a class that fills the image, the image is one component
        balanced = LogBoundaryLoss(balance_lesions=True)(logits, labels)
        torch.testing.assert_close(balanced, LogBoundaryLoss()(logits, labels))


@pytest.mark.parametrize("batch", [0, 1])
def test_lesion_balance_of_one_lesion_or_none_changes_nothing(batch):
    labels = torch.zeros(batch, 7, 6, dtype=torch.long)
    labels[:, 2:4, 3:5] = 1
    logits = new_logits(labels, 2)
    balanced = LogBoundaryLoss(balance_lesions=True)(logits, labels)
    torch.testing.assert_close(balanced, LogBoundaryLoss()(logits, labels))


def test_lesion_balance_counts_only_voxels_that_carry_loss():
    labels = blobs(classes=2)
    labels[:, 10:13] = 255  # cuts lesions in two
    logits = new_logits(labels, 2)
    ignoring = LogBoundaryLoss(balance_lesions=True, ignore_index=255)(logits, labels)
    by_mask = LogBoundaryLoss(balance_lesions=True)
    torch.testing.assert_close(by_mask(logits, labels % 255, mask=labels != 255), ignoring)
    weight = torch.where(labels == 1, -1.0, 1.0)[:, None]
    weight[:, :, 10:13] = -1  # one lesion, were it not for the mask
    cut, whole = lesion_factors(weight, labels[:, None] != 255), lesion_factors(weight, None)
    assert (cut[:, :, 10:13] == 1).all() and not torch.allclose(cut[:, :, :10], whole[:, :, :10])


def test_lesion_balance_gradcheck(monkeypatch):
    monkeypatch.setattr("boundaryloss.losses.functional.LIFT", 1.0)  # constant, as the gradient takes it
    labels = blobs((1, 7, 6))
    masks = one_hot(labels, 3).movedim(-1, 1)
    loss = LogBoundaryLoss(balance_lesions=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, masks), new_logits(labels, dtype=torch.double))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch itself
def test_lesion_balance_compiles_without_a_graph_break():
    labels = blobs()
    loss, first, second = LogBoundaryLoss(balance_lesions=True), new_logits(labels), new_logits(labels)
    torch.compile(loss, fullgraph=True, backend="aot_eager")(first, labels).backward()
    loss(second, labels).backward()
    torch.testing.assert_close(first.grad, second.grad)


def test_lesion_balance_under_autocast_and_in_half_precision_is_that_of_float32():
    labels = blobs()
    logits = new_logits(labels).detach().bfloat16()
    loss = LogBoundaryLoss(balance_lesions=True)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(logits, labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.float(), labels))


def test_lesion_balance_of_tensors_without_values():
    loss = LogBoundaryLoss(balance_lesions=True, reduction="none")
    labels = torch.zeros(2, 7, 6, dtype=torch.long, device="meta")
    assert loss(torch.zeros(2, 3, 7, 6, device="meta"), labels).shape == (2, 2, 7, 6)


def test_lesion_balance_sums_what_float32_would_lose():
    weight = torch.ones(1, 1, 40, 60)
    weight[..., :50] = -1
    weight[..., 0, 0] = -(2.0**25)  # to which float32 adds 1 without effect
    weight[..., 52:] = -(2.0**14)
    totals = torch.tensor([2**25 + 1999, 320 * 2**14], dtype=torch.double)
    expected = (totals.mean() / totals).float()
    torch.testing.assert_close(lesion_factors(weight, None)[0, 0, 0, [0, 59]], expected, rtol=2e-7, atol=0)


def test_lesion_balance_shows_in_print():
    assert "balance_lesions=True" in repr(LogBoundaryLoss(balance_lesions=True))
