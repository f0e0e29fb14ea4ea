import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from boundaryloss import BoundaryLoss, boundary_loss, signed_distance_map
from boundaryloss.losses import base


def make(shape=(2, 3, 9, 11), dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, max(shape[1], 2), (shape[0], *shape[2:]), generator=generator)
    return logits, labels


def one_hot(labels, classes):
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1)


def test_boundary_loss_by_hand():
    phi = torch.tensor([[[[2.0, 1.0], [-1.0, -3.0]]]])
    p = torch.tensor([[[[0.5, 0.0], [1.0, 0.5]]]])
    assert float(boundary_loss(p, phi, reduction="sum")) == -1.5
    assert float(boundary_loss(p, phi)) == -1.5 / 4
    assert boundary_loss(p, phi, reduction="none").flatten().tolist() == [1.0, 0.0, -1.0, -1.5]
    mask = torch.tensor([[[True, True], [True, False]]])
    assert float(boundary_loss(p, phi, mask=mask)) == 0.0
    assert float(boundary_loss(p, phi, mask=mask[:, None], reduction="sum")) == 0.0


@pytest.mark.parametrize("shape", [(2, 3, 9, 11), (1, 2, 4, 5, 6)])
def test_boundary_loss_module_is_softmax_times_map(shape):
    logits, labels = make(shape)
    phi = signed_distance_map(labels, shape[1])
    expected = (logits.softmax(1)[:, 1:] * phi).mean()
    torch.testing.assert_close(BoundaryLoss()(logits, labels), expected)
    with_background = (
        logits.softmax(1) * signed_distance_map(labels, shape[1], include_background=True)
    ).mean()
    torch.testing.assert_close(BoundaryLoss(include_background=True)(logits, labels), with_background)


def test_boundary_loss_module_reproduces_the_seed_one_image_at_a_time():
    distance_transform_edt = pytest.importorskip("scipy.ndimage").distance_transform_edt

    logits, labels = make((4, 3, 16, 13), seed=1)
    for i in range(4):
        maps = []
        for c in (1, 2):
            object_ = (labels[i] == c).numpy()
            inside, outside = distance_transform_edt(object_), distance_transform_edt(~object_)
            maps.append(torch.from_numpy(outside * ~object_ - (inside - 1) * object_))
        expected = (logits[i].softmax(0)[1:] * torch.stack(maps)).mean()
        ours = BoundaryLoss(contour="centers")(logits[i : i + 1], labels[i : i + 1])
        assert float(ours) == pytest.approx(float(expected), rel=1e-6)


def test_boundary_loss_module_takes_every_form_of_target():
    logits, labels = make()
    expected = BoundaryLoss()(logits, labels)
    masks = one_hot(labels, 3)
    for target in (
        labels[:, None],
        masks,
        masks.bool(),
        masks.float(),
        masks.to(torch.uint8),
        labels.to(torch.int16),
    ):
        assert torch.equal(BoundaryLoss()(logits, target), expected)


def test_boundary_loss_module_takes_every_form_of_binary_target():
    logits, labels = make((2, 1, 9, 11))
    loss = BoundaryLoss(activation="sigmoid")
    expected = (logits.sigmoid() * signed_distance_map(labels, 2)).mean()
    for target in (labels, labels[:, None], labels.bool(), labels[:, None].float(), labels.float()):
        torch.testing.assert_close(loss(logits, target), expected)
    torch.testing.assert_close(BoundaryLoss(activation=None)(logits.sigmoid(), labels), expected)


def test_boundary_loss_module_sigmoid_counts_every_channel_of_overlapping_masks():
    logits, _ = make((2, 3, 9, 11))
    masks = torch.rand(logits.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = (logits.sigmoid() * signed_distance_map(masks)).mean()
    torch.testing.assert_close(BoundaryLoss(activation="sigmoid")(logits, masks), expected)


def test_boundary_loss_module_ignores_what_it_is_told_to():
    logits, labels = make()
    keep = torch.rand(labels.shape, generator=torch.Generator().manual_seed(3)) < 0.7
    marked = labels.masked_fill(~keep, 255)
    phi = signed_distance_map(marked, 3, ignore_index=255)
    products = logits.softmax(1)[:, 1:] * phi
    expected = products[keep[:, None].expand_as(products)].mean()
    torch.testing.assert_close(BoundaryLoss(ignore_index=255)(logits, marked), expected)

    products = logits.softmax(1)[:, 1:] * signed_distance_map(labels, 3)
    expected = products[keep[:, None].expand_as(products)].mean()
    torch.testing.assert_close(BoundaryLoss()(logits, labels, mask=keep), expected)
    torch.testing.assert_close(BoundaryLoss()(logits, labels, mask=keep[:, None]), expected)


def test_boundary_loss_module_is_zero_with_zero_gradient_where_everything_is_ignored():
    logits, labels = make()
    logits.requires_grad_()
    loss = BoundaryLoss(ignore_index=255)(logits, torch.full_like(labels, 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    assert BoundaryLoss()(logits, labels, mask=torch.zeros_like(labels, dtype=torch.bool)).item() == 0


def test_boundary_loss_module_spacing_of_the_call_overrides_the_module():
    logits, labels = make()
    expected = BoundaryLoss(spacing=(3, 0.5))(logits, labels)
    assert torch.equal(BoundaryLoss(spacing=(1, 1))(logits, labels, spacing=(3, 0.5)), expected)


def test_boundary_loss_module_as_distance_is_never_negative_and_zero_when_perfect():
    logits, labels = make()
    loss = BoundaryLoss(as_distance=True, reduction="none")
    assert (loss(logits, labels) >= 0).all()
    assert float(loss((one_hot(labels, 3).float() - 0.5) * 1e4, labels).abs().max()) == 0
    plain = logits.clone().requires_grad_()
    BoundaryLoss()(plain, labels).backward()
    shifted = logits.clone().requires_grad_()
    BoundaryLoss(as_distance=True)(shifted, labels).backward()
    assert torch.equal(plain.grad, shifted.grad)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 0.5, 3)])
@pytest.mark.parametrize("k", [1, 2, 5, -3])
def test_boundary_loss_module_as_distance_is_the_papers_identity_for_half_spaces(axis, spacing, k):
    shape = [5, 5, 5]
    shape[axis] = 24
    position = torch.arange(24).view([-1 if a == axis else 1 for a in range(3)]).expand(shape)
    truth, moved = (position < 10).long(), (position < 10 + k).float()
    loss = BoundaryLoss(activation=None, spacing=spacing, as_distance=True, reduction="sum")
    integral = float(loss(moved[None, None], truth[None])) * math.prod(spacing)
    area = 25 * math.prod(spacing) / spacing[axis]
    assert integral / area == pytest.approx(k**2 / 2 * spacing[axis] ** 2, rel=1e-6)


def ball(dimensions, n, radius):
    axis = (torch.arange(n) + 0.5) / n * 2 - 1
    grid = torch.meshgrid(*[axis] * dimensions, indexing="ij")
    return sum(a**2 for a in grid) < radius**2


@pytest.mark.parametrize(
    ("dimensions", "sizes", "last"), [(2, (64, 256, 1024), 0.01), (3, (24, 48, 96), 0.07)]
)
def test_boundary_loss_module_as_distance_converges_for_balls(dimensions, sizes, last):
    """A ball of radius R grown to S: the integral of (r - R) over the shell.

    The steps of a digital ball lie about half a voxel nearer, so the error falls as the first power of the
    voxel, with the noise of how the steps happen to fall.
    """
    small, large = 0.45, 0.7
    sphere = 2 * math.pi if dimensions == 2 else 4 * math.pi
    power = dimensions
    exact = sphere * (
        (large ** (power + 1) - small ** (power + 1)) / (power + 1)
        - small * (large**power - small**power) / power
    )
    errors = []
    for n in sizes:
        step = 2 / n
        loss = BoundaryLoss(activation=None, spacing=(step,) * dimensions, as_distance=True, reduction="sum")
        truth, grown = ball(dimensions, n, small), ball(dimensions, n, large)
        value = float(loss(grown[None, None].float(), truth[None].long())) * step**dimensions
        errors.append(abs(value / exact - 1))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < last
    rate = math.log(errors[0] / errors[2]) / math.log(sizes[2] / sizes[0])
    assert 0.65 < rate < 1.2


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("options", [{}, {"as_distance": True}, {"reduction": "none"}])
def test_boundary_loss_module_gradients_are_right(activation, options):
    logits, labels = make((2, 3, 4, 5), torch.float64)
    logits.requires_grad_()
    loss = BoundaryLoss(activation=activation, **options)
    target = one_hot(labels, 3).bool()
    assert gradcheck(lambda x: loss(x, target), logits)
    assert gradgradcheck(lambda x: loss(x, target), logits)


def test_boundary_loss_module_gradient_is_the_closed_form():
    logits, labels = make((1, 3, 6, 7), torch.float64)
    logits.requires_grad_()
    BoundaryLoss(include_background=True, reduction="sum")(logits, labels).backward()
    phi, p = signed_distance_map(labels, 3, include_background=True), logits.detach().softmax(1)
    torch.testing.assert_close(logits.grad, p * (phi - (p * phi).sum(1, keepdim=True)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boundary_loss_module_is_safe_in_half_precision(dtype):
    labels = torch.zeros(1, 512, 512, dtype=torch.long)
    labels[0, 0, 0] = 1
    logits = torch.zeros(1, 2, 512, 512, dtype=dtype, requires_grad=True)
    loss = BoundaryLoss(reduction="sum")(logits, labels)  # far beyond the largest fp16 number
    assert loss.dtype == torch.float32
    expected = signed_distance_map(labels, 2).double().sum() / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert logits.grad.dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert BoundaryLoss()(logits, labels).dtype == torch.float32


def test_boundary_loss_module_propagates_nan_logits():
    logits, labels = make()
    logits[0, 0, 0, 0] = math.nan
    assert BoundaryLoss()(logits, labels).isnan()


def test_boundary_loss_module_of_an_empty_batch_is_zero():
    logits = torch.zeros(0, 2, 4, 5, requires_grad=True)
    loss = BoundaryLoss()(logits, torch.zeros(0, 4, 5, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("options", [{}, {"ignore_index": 255}, {"as_distance": True}])
def test_boundary_loss_module_reads_no_value_on_the_host(options):
    with torch.device("meta"):  # tensors without values: reading one raises; on the CPU nothing waits
        logits, labels = torch.zeros(2, 3, 9, 11), torch.zeros(2, 9, 11, dtype=torch.long)
        loss = BoundaryLoss(**options)(
            logits, labels, mask=None if options else torch.ones(2, 9, 11, dtype=torch.bool)
        )
    assert loss.shape == ()


def test_boundary_loss_module_compiles_without_a_break():
    logits, labels = make()
    loss = BoundaryLoss(ignore_index=255, as_distance=True, spacing=(2.0, 0.5))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(logits, labels), loss(logits, labels))


LOGITS, LABELS = make((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (LOGITS[:, :1], LABELS, {}, ValueError, "sigmoid"),
        (LOGITS, LABELS.float(), {}, TypeError, r"target\.long\(\)"),
        (LOGITS, LABELS[:, None].float(), {}, TypeError, r"target\.long\(\)"),
        (LOGITS, LABELS[:, :2], {}, ValueError, "does not match logits"),
        (LOGITS, one_hot(LABELS, 3)[:, :2], {}, ValueError, "does not match logits"),
        (LOGITS[0], LABELS[0], {}, ValueError, "2-D or 3-D"),
        (LOGITS, LABELS + 1, {}, ValueError, "label 3 .*ignore_index=3"),
        (LOGITS, one_hot(LABELS, 3), {"ignore_index": 255}, ValueError, "mask="),
        (LOGITS, LABELS, {"spacing": (1, 1, 1)}, ValueError, "2 spatial axes"),
    ],
)
def test_boundary_loss_module_refuses(logits, target, options, error, message):
    with pytest.raises(error, match=message):
        BoundaryLoss(**options)(logits, target)


@pytest.mark.parametrize("mask", [torch.ones(2, 4, 5), torch.ones(2, 3, 4, 5, dtype=torch.bool)])
def test_boundary_loss_module_refuses_a_mask_of_another_shape(mask):
    with pytest.raises(ValueError, match="mask must be bool"):
        BoundaryLoss()(LOGITS, LABELS, mask=mask)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"contour": "edge"},
        {"reduction": "avg"},
        {"spacing": (0, 1)},
    ],
)
def test_boundary_loss_module_refuses_unknown_options(options):
    with pytest.raises(ValueError, match="must be"):
        BoundaryLoss(**options)


def test_boundary_loss_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match="same shape"):
        boundary_loss(torch.zeros(1, 2, 3, 4), torch.zeros(1, 1, 3, 4))


def test_boundary_loss_module_warns_once_if_there_is_never_an_object():
    loss, labels = BoundaryLoss(), torch.zeros(1, 6, 6, dtype=torch.long)
    logits = torch.zeros(1, 2, 6, 6)
    for _ in range(base.EMPTY_BATCHES - 1):
        loss(logits, labels)
    loss(logits, torch.eye(6, dtype=torch.long)[None])  # there is one after all
    for _ in range(base.EMPTY_BATCHES - 1):
        loss(logits, labels)
    with pytest.warns(UserWarning, match="the values of the labels"):
        loss(logits, labels)
    loss(logits, labels)


def test_boundary_loss_module_of_labels_and_sigmoid_leaves_the_background_out():
    logits, labels = make((2, 3, 6, 7))
    masks = one_hot(labels, 3)
    objects = BoundaryLoss(activation="sigmoid")(logits[:, 1:], masks[:, 1:])
    torch.testing.assert_close(BoundaryLoss(activation="sigmoid")(logits, labels), objects)
    every = BoundaryLoss(activation="sigmoid", include_background=True)(logits, labels)
    torch.testing.assert_close(every, BoundaryLoss(activation="sigmoid")(logits, masks))


def test_boundary_loss_module_warns_once_of_probabilities():
    logits, labels = make((2, 3, 6, 7))
    loss = BoundaryLoss()
    with pytest.warns(UserWarning, match="pass them before softmax") as caught:
        for _ in range(2):
            loss(logits.softmax(1), labels)
    assert len(caught) == 1
    BoundaryLoss()(logits, labels)
    BoundaryLoss(activation=None)(logits.softmax(1), labels)
