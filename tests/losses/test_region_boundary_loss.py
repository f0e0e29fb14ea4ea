import io

import pytest
import torch
from monai.losses import DiceCELoss, GeneralizedDiceLoss
from torch.nn.functional import cross_entropy

from boundaryloss import BoundaryLoss, Constant, Increase, LogBoundaryLoss, Rebalance, RegionBoundaryLoss

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
