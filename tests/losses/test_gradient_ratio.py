"""`RegionBoundaryLoss` with `GradientRatio`, on terms whose gradients are known."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from boundaryloss import BoundaryLoss, GradientRatio, Increase, LogBoundaryLoss, RegionBoundaryLoss
from boundaryloss.losses import op
from boundaryloss.losses.combined import EVERY
from boundaryloss.losses.gradients import DIFFERENTIATION

LABELS = torch.randint(0, 2, (2, 9, 11), generator=torch.Generator().manual_seed(1))


class Slope(nn.Module):
    """A loss of the logits whose gradient has the norm `norm` everywhere."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.calls = norm, 0

    def forward(self, logits, target, *, spacing=None, mask=None):
        self.calls += 1
        return logits.flatten()[0] * self.norm


def new_logits():
    return torch.randn(2, 2, 9, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)


def slopes(region=6.0, boundary=2.0, **options):
    return RegionBoundaryLoss(Slope(region), Slope(boundary), GradientRatio(**{"ramp": 0, **options}))


def alpha_after(loss, steps=1):
    for _ in range(steps):
        loss(new_logits(), LABELS)
    return float(loss.weights[1])


def test_gradient_ratio_holds_the_ratio_of_the_gradients_from_the_first_step_on():
    assert alpha_after(slopes(ratio=0.5)) == pytest.approx(0.5 * 6 / 2)


def test_gradient_ratio_follows_gradients_that_change():
    loss = slopes(ratio=0.5)
    loss(new_logits(), LABELS)
    loss.boundary.norm = 0.2
    assert alpha_after(loss, 100 * EVERY) == pytest.approx(0.5 * 6 / 0.2, rel=1e-3)


def test_gradient_ratio_measures_every_few_steps():
    loss = slopes()
    alpha_after(loss, 2 * EVERY)
    assert loss.region.calls == loss.boundary.calls == 2 * EVERY + 2


def test_gradient_ratio_ramps_from_zero_and_is_limited():
    loss = slopes(ratio=0.5, ramp=10, limit=1.0)
    weights = []
    for epoch in (0, 1, 2, 5, 10):
        loss.set_epoch(epoch)
        weights.append(alpha_after(loss))
    assert weights == pytest.approx([0, 0.15, 0.3, 0.75, 1.0])


def ways_to_differentiate():
    def backward(loss, logits):
        loss(logits, LABELS).backward()
        return logits.grad

    def accumulated(loss, logits):  # half of the batch at a time
        for part, labels in zip(logits.split(1), LABELS.split(1), strict=True):
            (loss(part, labels) / 2).backward()
        return logits.grad

    def scaled(loss, logits):
        (loss(logits, LABELS) * 4096).backward()
        return logits.grad / 4096

    def inputs(loss, logits):
        loss(logits, LABELS).backward(inputs=[logits])
        return logits.grad

    def functional(loss, logits):
        return torch.autograd.grad(loss(logits, LABELS), logits)[0]

    def by_hand(loss, logits):
        region, boundary = loss.terms(logits, LABELS)
        return torch.autograd.grad(loss.weights[0] * region + loss.weights[1] * boundary, logits)[0]

    return [backward, accumulated, scaled, inputs, functional, by_hand]


@pytest.mark.parametrize("gradient_of", ways_to_differentiate())
def test_gradient_ratio_gives_the_same_weight_however_one_differentiates(gradient_of):
    loss = RegionBoundaryLoss(nn.CrossEntropyLoss(), BoundaryLoss(), GradientRatio(ratio=0.5, ramp=0))
    gradient = gradient_of(loss, new_logits())
    weight = float(loss.weights[1])
    twin = new_logits()
    if gradient_of.__name__ != "accumulated":
        region, boundary = (term(twin, LABELS) for term in (cross_entropy, BoundaryLoss()))
        (of_region,) = torch.autograd.grad(region, twin, retain_graph=True)
        (of_boundary,) = torch.autograd.grad(boundary, twin)
        assert weight == pytest.approx(float(0.5 * of_region.norm() / of_boundary.norm()))
    else:  # one half is measured
        region, boundary = (term(twin, LABELS) for term in (cross_entropy, BoundaryLoss()))
        of_region, of_boundary = (
            torch.autograd.grad(t, twin, retain_graph=True)[0] for t in (region, boundary)
        )
        assert weight > 0
    torch.testing.assert_close(gradient, of_region + weight * of_boundary)


def test_gradient_ratio_leaves_out_gradients_that_are_no_numbers():
    loss = slopes(ratio=0.5)
    loss(new_logits() * float("nan"), LABELS)
    assert alpha_after(loss, EVERY) == pytest.approx(1.5)
    loss.region.norm = float("inf")
    assert alpha_after(loss, EVERY) == pytest.approx(1.5)


def test_gradient_ratio_outlives_a_vanishing_term():
    assert alpha_after(slopes(boundary=0.0, limit=7.0)) == 7
    assert alpha_after(slopes(region=0.0, limit=7.0)) == 0


def test_gradient_ratio_measures_in_training_only():
    loss = slopes()
    with torch.no_grad():
        loss(new_logits(), LABELS)
    loss.eval()
    loss(new_logits(), LABELS)
    assert loss.norms.sum() == 0
    assert alpha_after(loss.train()) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_gradient_ratio_measures_in_float32_at_least(dtype):
    logits = new_logits().detach().to(dtype)
    loss = RegionBoundaryLoss(nn.CrossEntropyLoss(), LogBoundaryLoss(), GradientRatio(ramp=0))
    twin = copy.deepcopy(loss)
    loss(logits.clone().requires_grad_(), LABELS)
    twin(logits.float().requires_grad_(), LABELS)
    torch.testing.assert_close(loss.norms, twin.norms)


def test_gradient_ratio_measures_under_autocast():
    loss = RegionBoundaryLoss(nn.CrossEntropyLoss(), weighting=GradientRatio(ramp=0))
    twin = copy.deepcopy(loss)
    with torch.autocast("cpu", torch.bfloat16):
        loss(new_logits(), LABELS)
    twin(new_logits(), LABELS)
    torch.testing.assert_close(loss.weights, twin.weights)


def test_gradient_ratio_of_deep_supervision_looks_at_full_resolution():
    class First(Slope):
        def forward(self, logits, target, **options):
            return super().forward(logits[0], target[0]) + 100 * logits[1].sum()

    loss = RegionBoundaryLoss(First(6.0), First(2.0), GradientRatio(ratio=0.5, ramp=0))
    levels = [new_logits(), new_logits()]
    loss(levels, [LABELS, LABELS]).backward()
    assert float(loss.weights[1]) == pytest.approx(1.5)
    assert levels[1].grad.unique().tolist() == pytest.approx([250])  # weighted there as well


@pytest.mark.parametrize("steps", [1, EVERY - 1, EVERY])
def test_gradient_ratio_resumes_from_a_checkpoint(steps):
    loss = RegionBoundaryLoss(nn.CrossEntropyLoss(), LogBoundaryLoss(), GradientRatio(ramp=4))
    loss.set_epoch(2)
    alpha_after(loss, steps)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    resumed = RegionBoundaryLoss(nn.CrossEntropyLoss(), LogBoundaryLoss(), GradientRatio(ramp=4))
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(EVERY + 1):
        logits = new_logits() * 2
        assert torch.equal(resumed(logits, LABELS), loss(logits, LABELS))
        assert torch.equal(resumed.norms, loss.norms)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss)), lambda loss: loss.double().float()],
)
def test_gradient_ratio_measures_in_a_copy(copied):
    loss = slopes(ratio=0.5)
    loss(new_logits(), LABELS)
    assert alpha_after(copied(loss)) == pytest.approx(1.5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch itself
def test_gradient_ratio_compiles_once_without_the_boundary_term_and_once_with_it():
    loss, twin = (RegionBoundaryLoss(nn.CrossEntropyLoss(), weighting=GradientRatio(ramp=2)) for _ in "12")
    compiles = 0

    def backend(graph, _):
        nonlocal compiles
        compiles += 1
        return graph.forward

    compiled = torch.compile(lambda x, y: loss(x, y), fullgraph=True, backend=backend)
    for epoch in range(4):
        first, second = new_logits(), new_logits()
        for module, call, logits in ((loss, compiled, first), (twin, twin, second)):
            module.set_epoch(epoch)
            call(logits, LABELS).backward()
        torch.testing.assert_close(first.grad, second.grad)  # the means are of one number
    assert compiles == 2 and loss.weights[1] > 0


def test_gradient_ratio_measures_nothing_before_its_start():
    warm, cold = (
        RegionBoundaryLoss(nn.CrossEntropyLoss(), weighting=w)
        for w in (GradientRatio(start=3, ramp=0), GradientRatio(ramp=0))
    )
    for _ in range(5):  # steps that a run which shares its beginning never sees
        warm.set_epoch(2)
        warm(new_logits(), LABELS).backward()
    assert warm.norms.tolist() == [0, 0]
    for loss in (warm, cold):
        loss.set_epoch(3)
        loss(new_logits(), LABELS).backward()
    assert warm.get_extra_state().tolist() == cold.get_extra_state().tolist()


def _process(rank, folder):
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    loss = slopes(region=[6.0, 2.0][rank], boundary=[2.0, 6.0][rank], ratio=0.5)
    (folder / f"{rank}").write_text(str(alpha_after(loss)))
    torch.distributed.destroy_process_group()


def test_gradient_ratio_weighs_alike_in_all_processes(tmp_path):
    torch.multiprocessing.spawn(_process, (tmp_path,), nprocs=2)
    assert [float((tmp_path / name).read_text()) for name in "01"] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["ratio", "ramp", "limit"])
def test_gradient_ratio_refuses_what_is_no_amount(name, value):
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        GradientRatio(**{name: value})


def test_gradient_ratio_after_a_schedule_and_back():
    ratio, schedule = slopes(ratio=0.5), RegionBoundaryLoss(Slope(6.0), Slope(2.0), Increase())
    ratio(new_logits(), LABELS)
    schedule.set_epoch(7)
    for other, into in ((schedule, ratio), (ratio, schedule)):
        into.load_state_dict(other.state_dict())
        assert into.epoch == 7
    assert float(schedule.weights[1]) == pytest.approx(0.07)


def test_gradient_ratio_compiles_with_the_loss_as_an_op(monkeypatch):
    """As on a GPU: `torch.func.grad`, which measures in compiled code, takes no op with its own gradient."""

    def value_of(wrap=lambda criterion: criterion):
        criterion = wrap(RegionBoundaryLoss(nn.CrossEntropyLoss(), BoundaryLoss(), GradientRatio(ramp=0)))
        return criterion(new_logits(), LABELS).detach()

    expected, launches = value_of(), []
    monkeypatch.setattr(BoundaryLoss, "_is_ordinary", lambda *_: not DIFFERENTIATION.by_transform)
    monkeypatch.setattr(op.KERNELS, "run", lambda *_: launches.append(1))
    compiled = value_of(lambda loss: torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=False))
    torch.testing.assert_close(compiled, expected)
    assert launches and not DIFFERENTIATION.by_transform
