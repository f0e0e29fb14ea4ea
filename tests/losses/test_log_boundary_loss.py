import pytest
import torch
from torch.nn.functional import one_hot, softplus

from boundaryloss import BoundaryLoss, LogBoundaryLoss, signed_distance_map

LABELS = torch.randint(0, 3, (2, 7, 6), generator=torch.Generator().manual_seed(1))


def new_logits(channels=3, scale=1.0, **options):
    logits = scale * torch.randn(2, channels, 7, 6, generator=torch.Generator().manual_seed(0), **options)
    return logits.requires_grad_()


def lift_of(weight, p):
    """By the formula, `(1, class, 1, 1)`."""
    outside = (weight.clamp(min=0) * p).sum((0, 2, 3), keepdim=True)
    inside = ((-weight).clamp(min=0) * (1 - p)).sum((0, 2, 3), keepdim=True)
    return (outside / inside).clamp(1, 4).detach()


def test_log_boundary_loss_of_two_classes_is_a_weighted_cross_entropy():
    logits, labels = new_logits(2), (LABELS == 1).long()
    weight = (signed_distance_map(labels, 2, spacing=(1, 2)) / 4).tanh()
    z = (logits[:, 1] - logits[:, 0])[:, None]
    lift = lift_of(weight, z.sigmoid())
    expected = (weight.clamp(min=0) * softplus(z) + lift * (-weight).clamp(min=0) * softplus(-z)).mean()
    loss = LogBoundaryLoss(saturation=4.0, spacing=(1, 2))(logits, labels)
    torch.testing.assert_close(loss, expected)
    sigmoid = LogBoundaryLoss(saturation=4.0, spacing=(1, 2), activation="sigmoid")
    torch.testing.assert_close(sigmoid(z, labels), expected)


def test_log_boundary_loss_is_its_formula_for_several_classes():
    logits = new_logits()
    p = logits.softmax(1)[:, 1:]
    weight = (signed_distance_map(LABELS, 3) / 2).tanh()
    expected = -torch.where(weight > 0, weight * (1 - p).log(), -lift_of(weight, p) * weight * p.log()).mean()
    torch.testing.assert_close(LogBoundaryLoss()(logits, LABELS), expected)
    masks = one_hot(LABELS, 3).movedim(-1, 1)
    torch.testing.assert_close(LogBoundaryLoss()(logits, masks), expected)
    torch.testing.assert_close(LogBoundaryLoss(activation=None)(logits.softmax(1), LABELS), expected)


def test_log_boundary_loss_gradient_is_closed_form_where_the_integral_s_vanishes():
    logits = torch.tensor([[[[20.0, -20.0, 20.0, -20.0]]]], requires_grad=True)
    target = torch.tensor([[[0, 0, 1, 1]]])  # wrong, right, right, wrong
    weight = (torch.tensor([1.5, 0.5, -0.5, -1.5]) / 2).tanh()
    (gradient,) = torch.autograd.grad(LogBoundaryLoss(activation="sigmoid")(logits, target), logits)
    torch.testing.assert_close(gradient[0, 0, 0], torch.stack([weight[0], *torch.zeros(2), weight[3]]) / 4)
    (gradient,) = torch.autograd.grad(BoundaryLoss(activation="sigmoid")(logits, target), logits)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_log_boundary_loss_gradcheck(activation, monkeypatch):
    monkeypatch.setattr("boundaryloss.losses.functional.LIFT", 1.0)  # constant, as the gradient takes it
    masks = one_hot(LABELS, 3).movedim(-1, 1)
    loss = LogBoundaryLoss(activation=activation, include_background=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, masks), new_logits(dtype=torch.double))


@pytest.mark.parametrize(
    ("outside", "inside", "net"),  # probabilities, and the sum of the gradient
    [(0.25, 0.5, 0.0), (0.25, 0.9, 0.75 - 4 * 0.1), (0.1, 0.25, 0.3 - 0.75)],
)
def test_log_boundary_loss_pulls_in_as_hard_as_it_pushes_out(outside, inside, net):
    logits = torch.tensor([[[[outside, outside, outside, inside]]]]).logit().requires_grad_()
    loss = LogBoundaryLoss(activation="sigmoid", saturation=1e-6, reduction="sum")  # weights of 1 and -1
    loss(logits, torch.tensor([[[0, 0, 0, 1]]])).backward()
    assert float(logits.grad.sum()) == pytest.approx(net, abs=1e-6)


def test_log_boundary_loss_lifts_every_class_for_itself():
    logits, more = new_logits(2), new_logits(2).detach()
    more[:, 1] -= 20  # hardly anywhere outside
    masks = one_hot(LABELS, 3).movedim(-1, 1)[:, 1:]
    loss = LogBoundaryLoss(activation="sigmoid", reduction="none")
    alone = loss(logits[:, :1], masks[:, :1])
    beside = loss(torch.cat([logits[:, :1], more[:, 1:]], 1), masks)
    torch.testing.assert_close(beside[:, :1], alone)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_log_boundary_loss_of_sure_logits_stays_finite(scale):
    logits = new_logits(scale=scale)
    loss = LogBoundaryLoss(include_background=True)(logits, LABELS)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all() and logits.grad.abs().max() > 1e-4


def test_log_boundary_loss_without_a_boundary_counts_every_voxel():
    z = new_logits(1)
    loss = LogBoundaryLoss(activation="sigmoid")
    absent, full = torch.zeros(2, 7, 6, dtype=torch.long), torch.ones(2, 7, 6, dtype=torch.long)
    torch.testing.assert_close(loss(z, absent), softplus(z).mean())
    torch.testing.assert_close(loss(z, full), softplus(-z).mean())
    torch.testing.assert_close(loss(z, full[:, None].bool()), softplus(-z).mean())
    two = torch.cat([torch.zeros_like(z), z], 1)
    torch.testing.assert_close(LogBoundaryLoss()(two, full), softplus(-z).mean())


def test_log_boundary_loss_leaves_out_unlabelled_voxels():
    labels = LABELS.clone()
    labels[:, :2] = 255
    loss = LogBoundaryLoss(ignore_index=255)
    logits = new_logits()
    other = torch.where((labels == 255)[:, None], logits + 7, logits)
    torch.testing.assert_close(loss(other, labels), loss(logits, labels))
    by_mask = LogBoundaryLoss()(logits, labels.masked_fill(labels == 255, 0), mask=labels != 255)
    torch.testing.assert_close(loss(logits, labels), by_mask)


def test_log_boundary_loss_takes_an_ignored_class_for_absent():
    labels = LABELS.clone()
    labels[:, 0, 0] = 1  # where it is looked up whether a class fills the image
    logits, loss = new_logits(), LogBoundaryLoss(ignore_index=1, reduction="none")
    kept = loss(logits, labels)[:, 0][labels != 1]
    p = logits.softmax(1)[:, 1]
    torch.testing.assert_close(kept, -(1 - p).log()[labels != 1])


def test_log_boundary_loss_takes_a_map_of_one_s_own():
    logits = new_logits()
    phi = signed_distance_map(LABELS, 3)
    torch.testing.assert_close(LogBoundaryLoss().from_map(logits, phi), LogBoundaryLoss()(logits, LABELS))
    torch.testing.assert_close(BoundaryLoss().from_map(logits, phi), BoundaryLoss()(logits, LABELS))
    absent = LogBoundaryLoss().from_map(logits, torch.zeros_like(phi))
    torch.testing.assert_close(absent, LogBoundaryLoss()(logits, torch.zeros_like(LABELS)))


def test_log_boundary_loss_reduces_as_told():
    logits = new_logits()
    values = LogBoundaryLoss(reduction="none")(logits, LABELS)
    assert values.shape == (2, 2, 7, 6)
    torch.testing.assert_close(LogBoundaryLoss(reduction="sum")(logits, LABELS), values.sum())
    torch.testing.assert_close(LogBoundaryLoss()(logits, LABELS), values.mean())


def test_log_boundary_loss_in_half_precision_is_that_of_float32():
    logits = new_logits()
    half = LogBoundaryLoss()(logits.bfloat16(), LABELS)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, LogBoundaryLoss()(logits.bfloat16().float(), LABELS))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch itself
def test_log_boundary_loss_compiles_without_a_graph_break():
    loss, first, second = LogBoundaryLoss(), new_logits(), new_logits()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(first, LABELS).backward()
    loss(second, LABELS).backward()
    torch.testing.assert_close(first.grad, second.grad)


@pytest.mark.parametrize("saturation", [0, -1.0, float("inf"), float("nan")])
def test_log_boundary_loss_refuses_a_saturation_that_is_no_distance(saturation):
    with pytest.raises(ValueError, match="saturation"):
        LogBoundaryLoss(saturation=saturation)


def test_log_boundary_loss_of_a_map_to_centers_forgives_a_perfect_prediction_of_one_corner():
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    labels[0, 0, 0] = 1
    phi = signed_distance_map(labels, 2, contour="centers")
    logits = 40 * torch.stack([1 - labels, labels], 1).float()
    assert float(LogBoundaryLoss().from_map(logits, phi)) < 1e-6
