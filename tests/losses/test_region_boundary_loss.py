import io

import pytest
import torch
from monai.losses import DiceCELoss, GeneralizedDiceLoss
from torch.nn.functional import cross_entropy

from boundaryloss import (
    Balance,
    BoundaryLoss,
    Constant,
    Increase,
    LogBoundaryLoss,
    Rebalance,
    RegionBoundaryLoss,
)

LOGITS = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (2, 9, 11), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("schedule", [Constant(0.05), Increase(step=0.1), Rebalance(step=0.1)])
def test_region_boundary_loss_is_the_weighted_sum(schedule):
    loss = RegionBoundaryLoss(cross_entropy, schedule=schedule)
    region, boundary = cross_entropy(LOGITS, LABELS), BoundaryLoss()(LOGITS, LABELS)
    for epoch in (0, 1, 7):
        loss.set_epoch(epoch)
        w_region, w_boundary = schedule(epoch)
        torch.testing.assert_close(loss(LOGITS, LABELS), w_region * region + w_boundary * boundary)
    assert [float(t) for t in loss.terms(LOGITS, LABELS)] == [float(region), float(boundary)]


@pytest.mark.parametrize("region", [DiceCELoss, GeneralizedDiceLoss])
def test_region_boundary_loss_takes_monai_losses(region):
    loss = RegionBoundaryLoss(region(to_onehot_y=True, softmax=True))
    loss.set_epoch(3)
    logits = LOGITS.clone().requires_grad_()
    loss(logits, LABELS[:, None]).backward()
    assert logits.grad.abs().sum() > 0


def test_region_boundary_loss_begins_with_the_region_loss_alone():
    loss = RegionBoundaryLoss(cross_entropy)
    assert torch.equal(loss(LOGITS, LABELS), cross_entropy(LOGITS, LABELS))


@pytest.mark.filterwarnings("ignore:the boundary loss begins with a weight of 1")
def test_region_boundary_loss_passes_spacing_and_mask_to_the_boundary_term():
    loss = RegionBoundaryLoss(cross_entropy, schedule=Constant(1.0))
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
    states = RegionBoundaryLoss(weighted(), schedule=Balance()).state_dict()
    assert all(isinstance(state, torch.Tensor) for state in states.values())


@pytest.mark.parametrize("schedule", [Balance(), Increase()])
@pytest.mark.parametrize(
    "other", [weighted(), *(RegionBoundaryLoss(weighted(), schedule=s) for s in (Balance(), Increase()))]
)
def test_region_boundary_loss_loads_a_checkpoint_of_another_loss(other, schedule):
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(torch.zeros(3)), schedule=schedule)
    loss.set_epoch(3)
    state = in_a_network(other).state_dict()
    keys = set(state)
    in_a_network(loss).load_state_dict(state)
    assert set(state) == keys
    assert loss.region.weight.tolist() == [1, 2, 3]
    assert loss.epoch == getattr(other, "epoch", 3)


def test_region_boundary_loss_loads_a_checkpoint_that_knows_no_loss():
    loss = RegionBoundaryLoss(cross_entropy, schedule=Balance())
    in_a_network(loss).load_state_dict(in_a_network(torch.nn.Identity()).state_dict())
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "network.weight"'):
        loss.load_state_dict(in_a_network(loss).state_dict())


def test_region_boundary_loss_compiles_once_for_all_epochs():
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
    assert compiles == 1


@pytest.mark.parametrize("schedule", [Constant(0.5), Rebalance(start=0.5), lambda epoch: (0.0, 0.01)])
def test_region_boundary_loss_warns_of_a_heavy_start(schedule):
    with pytest.warns(UserWarning, match="begins at 0"):
        RegionBoundaryLoss(cross_entropy, schedule=schedule)
    RegionBoundaryLoss(cross_entropy, BoundaryLoss(normalize="max"), schedule)  # has no unit: who knows
    RegionBoundaryLoss(cross_entropy, LogBoundaryLoss(), schedule)


def test_region_boundary_loss_refuses_what_is_no_loss():
    with pytest.raises(TypeError, match="region"):
        RegionBoundaryLoss("dice")
