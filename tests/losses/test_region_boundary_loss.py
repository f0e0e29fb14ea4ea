import io

import pytest
import torch
from torch.nn.functional import cross_entropy

from boundaryloss import (
    BoundaryLoss,
    Constant,
    GradientRatio,
    Increase,
    LogBoundaryLoss,
    Rebalance,
    RegionBoundaryLoss,
)

LOGITS = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (2, 9, 11), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("schedule", [Constant(0.05), Increase(step=0.1), Rebalance(step=0.1)])
def test_region_boundary_loss_is_the_weighted_sum(schedule):
    loss = RegionBoundaryLoss(cross_entropy, BoundaryLoss(), schedule)
    region, boundary = cross_entropy(LOGITS, LABELS), BoundaryLoss()(LOGITS, LABELS)
    for epoch in (0, 1, 7):
        loss.set_epoch(epoch)
        w_region, w_boundary = schedule(epoch)
        torch.testing.assert_close(loss(LOGITS, LABELS), w_region * region + w_boundary * boundary)
    assert [float(t) for t in loss.terms(LOGITS, LABELS)] == [float(region), float(boundary)]


@pytest.mark.parametrize("region", ["DiceCELoss", "GeneralizedDiceLoss"])
def test_region_boundary_loss_takes_monai_losses(region):
    losses = pytest.importorskip("monai.losses")
    loss = RegionBoundaryLoss(getattr(losses, region)(to_onehot_y=True, softmax=True))
    loss.set_epoch(3)
    logits = LOGITS.clone().requires_grad_()
    loss(logits, LABELS[:, None]).backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("boundary", [(), (BoundaryLoss(),)])
def test_region_boundary_loss_begins_with_the_region_loss_alone(boundary):
    loss = RegionBoundaryLoss(cross_entropy, *boundary)
    assert torch.equal(loss(LOGITS, LABELS), cross_entropy(LOGITS, LABELS))


def test_region_boundary_loss_without_further_words():
    loss, twin = RegionBoundaryLoss(cross_entropy), LOGITS.clone().requires_grad_()
    boundary = LogBoundaryLoss(balance_lesions=True)
    loss.set_epoch(30)
    value = loss(twin, LABELS)
    norms = [torch.autograd.grad(t(twin, LABELS), twin)[0].norm() for t in (cross_entropy, boundary)]
    expected = cross_entropy(twin, LABELS) + 0.5 * norms[0] / norms[1] * boundary(twin, LABELS)
    torch.testing.assert_close(value, expected)
    assert RegionBoundaryLoss(cross_entropy, BoundaryLoss()).weighting == Increase()


@pytest.mark.filterwarnings("ignore:the boundary loss begins with a weight of 1")
def test_region_boundary_loss_passes_spacing_and_mask_to_the_boundary_term():
    loss = RegionBoundaryLoss(cross_entropy, BoundaryLoss(), Constant(1.0))
    mask = LABELS != 1
    expected = cross_entropy(LOGITS, LABELS) + BoundaryLoss()(LOGITS, LABELS, spacing=(2, 3), mask=mask)
    torch.testing.assert_close(loss(LOGITS, LABELS, spacing=(2, 3), mask=mask), expected)


def test_region_boundary_loss_resumes_from_a_checkpoint():
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss())
    loss.set_epoch(17)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    resumed = RegionBoundaryLoss(torch.nn.CrossEntropyLoss())
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.epoch == 17
    assert torch.equal(resumed(LOGITS, LABELS), loss(LOGITS, LABELS))


def in_a_network(loss):
    return torch.nn.ModuleDict({"network": torch.nn.Conv2d(1, 3, 1), "loss": loss})


def weighted():
    return torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))


def test_region_boundary_loss_has_a_state_of_tensors():
    states = RegionBoundaryLoss(weighted(), weighting=GradientRatio()).state_dict()
    assert all(isinstance(state, torch.Tensor) for state in states.values())


@pytest.mark.parametrize("schedule", [GradientRatio(), Increase()])
@pytest.mark.parametrize(
    "other",
    [weighted(), *(RegionBoundaryLoss(weighted(), weighting=s) for s in (GradientRatio(), Increase()))],
)
def test_region_boundary_loss_loads_a_checkpoint_of_another_loss(other, schedule):
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(torch.zeros(3)), weighting=schedule)
    loss.set_epoch(3)
    state = in_a_network(other).state_dict()
    keys = set(state)
    in_a_network(loss).load_state_dict(state)
    assert set(state) == keys
    assert loss.region.weight.tolist() == [1, 2, 3]
    assert loss.epoch == getattr(other, "epoch", 3)


def test_region_boundary_loss_loads_a_checkpoint_that_knows_no_loss():
    loss = RegionBoundaryLoss(cross_entropy, weighting=GradientRatio())
    in_a_network(loss).load_state_dict(in_a_network(torch.nn.Identity()).state_dict())
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "network.weight"'):
        loss.load_state_dict(in_a_network(loss).state_dict())


def test_region_boundary_loss_compiles_once_without_the_boundary_term_and_once_with_it():
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss())
    compiles = 0

    def backend(graph, _):
        nonlocal compiles
        compiles += 1
        return graph.forward

    compiled = torch.compile(lambda x, y: loss(x, y), fullgraph=True, backend=backend)
    for epoch in range(4):
        loss.set_epoch(epoch)
        torch.testing.assert_close(compiled(LOGITS, LABELS), loss(LOGITS, LABELS))
    assert compiles == 2


@pytest.mark.parametrize("weighting", [0.5, Rebalance(start=0.5), lambda epoch: (0.0, 0.01)])
def test_region_boundary_loss_warns_of_a_heavy_start(weighting):
    with pytest.warns(UserWarning, match="begins at 0"):
        RegionBoundaryLoss(cross_entropy, BoundaryLoss(), weighting)
    RegionBoundaryLoss(cross_entropy, weighting=weighting)


def test_region_boundary_loss_takes_a_number_as_its_weight():
    loss = RegionBoundaryLoss(cross_entropy, LogBoundaryLoss(), 0.25)
    expected = cross_entropy(LOGITS, LABELS) + 0.25 * LogBoundaryLoss()(LOGITS, LABELS)
    torch.testing.assert_close(loss(LOGITS, LABELS), expected)


def test_region_boundary_loss_warns_once_if_nobody_sets_the_epoch(monkeypatch):
    monkeypatch.setattr("boundaryloss.losses.combined.PATIENCE", 3)
    loss = RegionBoundaryLoss(cross_entropy)
    with pytest.warns(UserWarning, match="call set_epoch") as caught:
        for _ in range(9):
            loss(LOGITS, LABELS)
    assert len(caught) == 1
    set_by_hand = RegionBoundaryLoss(cross_entropy)
    set_by_hand.set_epoch(0)
    for other in (set_by_hand, RegionBoundaryLoss(cross_entropy, weighting=0.01)):
        for _ in range(9):
            other(LOGITS, LABELS)


def test_region_boundary_loss_shows_weighting_epoch_and_weights():
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), BoundaryLoss())
    loss.set_epoch(7)
    assert "weighting=Increase(start=0.0, step=0.01, stop=1.0), epoch=7, weights=(1, 0.07)" in repr(loss)


def test_region_boundary_loss_says_what_labels_cross_entropy_takes():
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match=r"pass target\.squeeze\(1\)"):
        loss(LOGITS, LABELS[:, None])


class Counting(BoundaryLoss):
    """How often it was called."""

    calls = 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize("weighting", [Increase(), Rebalance(), GradientRatio(start=2, ramp=0)])
def test_region_boundary_loss_leaves_out_a_term_without_weight(weighting):
    loss = RegionBoundaryLoss(cross_entropy, Counting(), weighting)
    loss.set_epoch(0)
    assert [float(loss(LOGITS, LABELS)) for _ in range(3)] == [float(cross_entropy(LOGITS, LABELS))] * 3
    assert loss.alone and loss.boundary.calls == 1  # the first, in search of mistakes
    loss.set_epoch(2)
    loss(LOGITS, LABELS)
    assert not loss.alone and loss.boundary.calls > 1


def test_region_boundary_loss_finds_a_mistake_before_the_term_has_a_weight():
    with pytest.raises(ValueError, match="spacing"):
        RegionBoundaryLoss(cross_entropy)(LOGITS, LABELS, spacing=(1.0,))
