"""`RegionBoundaryLoss` with `Balance`, on terms whose gradients are known."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from boundaryloss import Balance, BoundaryLoss, RegionBoundaryLoss

LABELS = torch.randint(0, 2, (2, 9, 11), generator=torch.Generator().manual_seed(1))


class Slope(nn.Module):
    """A loss of the logits whose gradient has the norm `norm` everywhere."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, logits, target, *, spacing=None, mask=None):
        return logits.flatten()[0] * self.norm


def new_logits():
    return torch.randn(2, 2, 9, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)


def slopes(region=6.0, boundary=2.0, **options):
    return RegionBoundaryLoss(Slope(region), Slope(boundary), Balance(**{"ramp": 0, **options}))


def step(loss, logits=None, scale=1.0):
    (loss(new_logits() if logits is None else logits, LABELS) * scale).backward()


def alpha(loss):
    """The weight that the next step has."""
    loss(new_logits(), LABELS)
    return float(loss.weights[1])


def test_balance_holds_the_ratio_of_the_gradients():
    loss = slopes(ratio=0.5)
    assert alpha(loss) == 0  # nothing is measured yet
    step(loss)
    assert alpha(loss) == pytest.approx(0.5 * 6 / 2)


def test_balance_follows_gradients_that_change():
    loss = slopes(ratio=0.5)
    step(loss)
    loss.boundary.norm = 0.2
    for _ in range(100):
        step(loss)
    assert alpha(loss) == pytest.approx(0.5 * 6 / 0.2, rel=1e-3)


def test_balance_ramps_from_zero_and_is_limited():
    loss = slopes(ratio=0.5, ramp=10, limit=1.0)
    weights = []
    for epoch in (0, 1, 2, 5, 10):
        loss.set_epoch(epoch)
        step(loss)
        weights.append(alpha(loss))
    assert weights == pytest.approx([0, 0.15, 0.3, 0.75, 1.0])


def test_balance_weighs_value_and_gradient():
    loss = RegionBoundaryLoss(cross_entropy, schedule=Balance(ratio=0.5, ramp=0))
    step(loss)
    first, second = new_logits(), new_logits()
    loss(first, LABELS).backward()
    weight = float(loss.weights[1])
    assert weight > 0
    expected = cross_entropy(second, LABELS) + weight * BoundaryLoss()(second, LABELS)
    expected.backward()
    torch.testing.assert_close(first.grad, second.grad)
    with torch.no_grad():
        torch.testing.assert_close(loss(second, LABELS), expected)


@pytest.mark.parametrize("scale", [1 / 8, 4096.0])
def test_balance_does_not_feel_a_scaler_or_an_accumulation(scale):
    loss = slopes(ratio=0.5)
    for _ in range(2):
        step(loss, scale=scale)
    assert alpha(loss) == pytest.approx(1.5)


def test_balance_leaves_out_gradients_that_overflowed():
    loss = slopes(ratio=0.5)
    step(loss, new_logits().half(), scale=1e9)
    assert alpha(loss) == 0
    step(loss)
    assert alpha(loss) == pytest.approx(1.5)


def test_balance_outlives_a_vanishing_term():
    loss = slopes(boundary=0.0, limit=7.0)
    step(loss)
    assert alpha(loss) == 7
    loss = slopes(region=0.0, limit=7.0)
    step(loss)
    assert alpha(loss) == 0


def test_balance_measures_in_training_only():
    loss = slopes()
    step(loss)
    with torch.no_grad():
        loss(new_logits(), LABELS)
        assert loss.weights[1] == 0 and loss.balance.norms.sum() == 0
    assert alpha(loss) > 0


def test_balance_of_deep_supervision_looks_at_full_resolution():
    class First(Slope):
        def forward(self, logits, target, **options):
            return super().forward(logits[0], target[0]) + 100 * logits[1].sum()

    loss = RegionBoundaryLoss(First(6.0), First(2.0), Balance(ratio=0.5, ramp=0))
    for _ in range(2):
        levels = [new_logits(), new_logits()]
        loss(levels, [LABELS, LABELS]).backward()
    assert float(loss.weights[1]) == pytest.approx(1.5)
    assert levels[1].grad.unique().tolist() == pytest.approx([250])  # weighted there as well


def test_balance_resumes_from_a_checkpoint():
    loss = slopes(ratio=0.5, ramp=4)
    loss.set_epoch(2)
    step(loss)
    assert alpha(loss) == pytest.approx(0.75)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    resumed = slopes(ratio=0.5, ramp=4)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert alpha(resumed) == pytest.approx(0.75)


def test_balance_resumes_between_backward_and_forward():
    loss = slopes(ratio=0.5)
    step(loss)
    loss.boundary.norm = 0.2
    step(loss)
    resumed = slopes(ratio=0.5, boundary=0.2)
    resumed.load_state_dict(loss.state_dict())
    assert alpha(resumed) == alpha(loss) > 1.5


def test_balance_takes_logits_of_double_precision():
    loss, logits = RegionBoundaryLoss(cross_entropy, schedule=Balance(ramp=0)), new_logits()
    twin, double = copy.deepcopy(loss), logits.detach().double().requires_grad_()
    for _ in range(2):
        step(loss, logits)
        step(twin, double)
    assert double.grad.dtype == torch.float64
    torch.testing.assert_close(double.grad.float(), logits.grad)
    assert alpha(twin) == pytest.approx(alpha(loss))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss)), nn.Module.float]
)
def test_balance_measures_in_a_copy(copied):
    loss = copied(slopes(ratio=0.5))
    for _ in range(2):
        step(loss)
    assert alpha(loss) == pytest.approx(1.5)


def test_balance_keeps_what_it_measured_when_it_is_moved():
    loss = slopes(ratio=0.5)
    step(loss)
    assert alpha(loss.double().float()) == pytest.approx(1.5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch itself
def test_balance_compiles_once_for_all_epochs():
    loss, twin = (RegionBoundaryLoss(nn.CrossEntropyLoss(), schedule=Balance(ramp=2)) for _ in range(2))
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
        torch.testing.assert_close(first.grad, second.grad)
    assert compiles == 1 and loss.weights[1] > 0


def _process(rank, folder):
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    loss = slopes(region=[6.0, 2.0][rank], boundary=[2.0, 6.0][rank], ratio=0.5)
    step(loss)
    saved = [loss.state_dict()]
    torch.distributed.broadcast_object_list(saved)  # the checkpoint of rank 0
    resumed = slopes(ratio=0.5)
    resumed.load_state_dict(saved[0])
    (folder / f"{rank}").write_text(str(alpha(loss)))
    (folder / f"resumed{rank}").write_text(str(alpha(resumed)))
    torch.distributed.destroy_process_group()


def test_balance_weighs_alike_in_all_processes(tmp_path):
    torch.multiprocessing.spawn(_process, (tmp_path,), nprocs=2)
    names = ("0", "1", "resumed0", "resumed1")
    assert [float((tmp_path / name).read_text()) for name in names] == pytest.approx([0.5] * 4)
