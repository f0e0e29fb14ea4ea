"""What no loss and no map can use is refused in a sentence."""

import copy

import numpy as np
import pytest
import torch

from boundaryloss import (
    BoundaryLoss,
    Constant,
    GradientRatio,
    Increase,
    LogBoundaryLoss,
    RegionBoundaryLoss,
    boundary_loss,
    distance_transform,
    signed_distance_map,
)

LOGITS = torch.randn(2, 2, 4, 5, generator=torch.Generator().manual_seed(0))
LABELS = (LOGITS[:, 0] > 0).long()
LOSSES = [
    BoundaryLoss(),
    LogBoundaryLoss(),
    RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=0.01),
    RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), LogBoundaryLoss(), GradientRatio(ramp=0)),
]
WIDE = [torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("logits", [LOGITS.long(), LOGITS > 0, LOGITS.cfloat(), LOGITS.numpy(), None])
def test_loss_refuses_logits_that_are_no_floating_tensor(loss, logits):
    with pytest.raises(TypeError, match="logits must be"):
        loss(logits, LABELS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", [None, LABELS.tolist(), LABELS.numpy(), {"label": LABELS}])
def test_loss_refuses_a_target_that_is_no_tensor(loss, target):
    with pytest.raises(TypeError, match="target must be a tensor, got"):
        loss(LOGITS, target)


@pytest.mark.parametrize("loss", LOSSES[:2])
def test_loss_refuses_complex_masks(loss):
    with pytest.raises(TypeError, match="target must be integer labels, or masks"):
        loss(LOGITS, LOGITS.cfloat())


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_refuses_tensors_on_different_devices(loss):
    with pytest.raises(
        ValueError, match=r"target is on meta, logits on cpu; use target\.to\(logits\.device\)"
    ):
        loss(LOGITS, LABELS.to("meta"))
    with pytest.raises(ValueError, match="mask is on meta"):
        loss(LOGITS, LABELS, mask=LABELS.bool().to("meta"))


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_refuses_a_mask_that_is_no_tensor(loss):
    with pytest.raises(TypeError, match="mask must be a bool tensor, got ndarray"):
        loss(LOGITS, LABELS, mask=LABELS.bool().numpy())


def test_losses_and_maps_refuse_sparse_tensors():
    for call in (
        lambda: BoundaryLoss()(LOGITS.to_sparse(), LABELS),
        lambda: BoundaryLoss()(LOGITS, LABELS.to_sparse()),
        lambda: signed_distance_map(LABELS.to_sparse(), 2),
        lambda: distance_transform(LABELS.bool().to_sparse(), spacing=(1, 1)),
    ):
        with pytest.raises(TypeError, match=r"must be dense, got torch.sparse_coo; use \w+\.to_dense\(\)"):
            call()


SPACINGS = ["12", {1: 1.0, 2: 1.0}, {1.0, 2.0}, (1, "2"), (1, None), (1, 1j), [[1.0, 2.0]], iter([1, 2])]
BEYOND = [(1, float("nan")), (1e18, 1e18), (1e-23, 1.0), (0, 1), (-1, 1), (1, float("inf"))]
WITH_SPACING = [
    lambda spacing: signed_distance_map(LABELS, 2, spacing=spacing),
    lambda spacing: distance_transform(LABELS.bool(), spacing=spacing),
    lambda spacing: BoundaryLoss(spacing=spacing),
    lambda spacing: LogBoundaryLoss()(LOGITS, LABELS, spacing=spacing),
    lambda spacing: LOSSES[2](LOGITS, LABELS, spacing=spacing),
]


@pytest.mark.parametrize("call", WITH_SPACING)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_spacing_that_is_no_sequence_of_numbers_is_refused(call, spacing):
    with pytest.raises(TypeError, match=r"spacing must be numbers, one for each axis"):
        call(spacing)


@pytest.mark.parametrize("call", WITH_SPACING)
@pytest.mark.parametrize("spacing", BEYOND)
def test_spacing_whose_squares_leave_float32_is_refused(call, spacing):
    with pytest.raises(ValueError, match="spacing must be positive and finite, from 1e-12 to 1e\\+12"):
        call(spacing)


@pytest.mark.parametrize(
    "spacing", [np.array([2.0, 0.5]), torch.tensor([2.0, 0.5]), [np.float32(2), np.float64(0.5)]]
)
def test_spacing_of_any_kind_of_numbers_is_taken(spacing):
    expected = signed_distance_map(LABELS, 2, spacing=(2.0, 0.5))
    assert torch.equal(signed_distance_map(LABELS, 2, spacing=spacing), expected)
    assert BoundaryLoss(spacing=spacing).spacing == [2.0, 0.5]


@pytest.mark.parametrize("dtype", WIDE)
def test_losses_and_maps_take_wide_unsigned_labels(dtype):
    labels = LABELS.clone()
    labels[0, 0, 0] = 200
    for loss in (BoundaryLoss(ignore_index=200), LogBoundaryLoss(ignore_index=200)):
        assert torch.equal(loss(LOGITS, labels.to(dtype)), loss(LOGITS, labels))
    masks = torch.stack([LABELS == 0, LABELS == 1], 1)
    for loss in LOSSES[:2]:
        assert torch.equal(loss(LOGITS, masks.to(torch.int32).to(dtype)), loss(LOGITS, masks))
    expected = signed_distance_map(LABELS, 2)
    assert torch.equal(signed_distance_map(LABELS.to(dtype), 2), expected)
    with pytest.raises(ValueError, match="label 200 at batch 0"):
        signed_distance_map(labels.to(dtype), 2)


@pytest.mark.parametrize("loss", [BoundaryLoss, LogBoundaryLoss])
def test_ignore_index_is_no_other_label_modulo_256(loss):
    labels = LABELS.byte()
    for ignored in (256, -255, 257):  # 0 and 1 among bytes
        assert torch.equal(loss(ignore_index=ignored)(LOGITS, labels), loss()(LOGITS, labels))


@pytest.mark.parametrize("wrong", [255.0, "255", True, [255]])
def test_ignore_index_and_num_classes_must_be_integers(wrong):
    for call in (
        lambda: BoundaryLoss(ignore_index=wrong),
        lambda: signed_distance_map(LABELS, 2, ignore_index=wrong),
        lambda: signed_distance_map(LABELS, wrong),
    ):
        with pytest.raises(TypeError, match="must be an integer, got"):
            call()
    with pytest.raises(ValueError, match="64 bits"):
        signed_distance_map(LABELS, 2, ignore_index=2**63)


def test_boundary_loss_refuses_what_it_cannot_multiply():
    phi = torch.zeros(2, 2, 4, 5)
    for probabilities in (LOGITS.long(), LOGITS > 0, LOGITS.cfloat(), LOGITS.tolist(), None):
        with pytest.raises(TypeError, match="probabilities must be"):
            boundary_loss(probabilities, phi)
        with pytest.raises(TypeError, match="signed_distance must be"):
            boundary_loss(LOGITS, probabilities)
    with pytest.raises(ValueError, match="signed_distance is on meta"):
        boundary_loss(LOGITS, phi.to("meta"))


@pytest.mark.parametrize("loss", [BoundaryLoss(as_distance=True), LogBoundaryLoss()])
def test_from_map_refuses_a_map_of_another_shape(loss):
    for shape in ((2, 3, 4, 5), (2, 1, 5, 4), (2, 4, 5)):
        with pytest.raises(ValueError, match="for the last channels of the logits"):
            loss.from_map(LOGITS, torch.zeros(shape))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_maps_work_on_tensors_without_values(loss):
    loss = copy.deepcopy(loss).to("meta")
    logits = LOGITS.to("meta").requires_grad_()
    loss(logits, LABELS.to("meta")).backward()
    assert logits.grad.shape == LOGITS.shape
    assert signed_distance_map(LABELS.to("meta"), 2).shape == (2, 1, 4, 5)
    assert distance_transform(LABELS.to("meta").bool(), spacing=(1, 2)).shape == LABELS.shape


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"region": "dice"}, TypeError, "region must be a loss"),
        ({"region": torch.nn.CrossEntropyLoss}, TypeError, r"an instance: CrossEntropyLoss\(\)"),
        ({"boundary": "boundary"}, TypeError, "boundary must be a loss to call"),
        ({"boundary": BoundaryLoss}, TypeError, r"an instance: BoundaryLoss\(\)"),
        ({"boundary": Increase()}, TypeError, r"given as weighting=Increase\("),
        ({"boundary": 0.1}, TypeError, r"given as weighting=0\.1"),
        ({"weighting": "increase"}, TypeError, "weighting must be a number, a GradientRatio, or a schedule"),
        ({"weighting": GradientRatio}, TypeError, r"an instance: GradientRatio\(\)"),
        ({"weighting": lambda epoch: 0.5}, ValueError, "weighting must give"),
        ({"weighting": lambda epoch: (1.0, 0.5, 0.5)}, ValueError, "weighting must give"),
    ],
)
def test_region_boundary_loss_refuses_parts_of_another_kind(arguments, error, message):
    with pytest.raises(error, match=message):
        RegionBoundaryLoss(**{"region": torch.nn.CrossEntropyLoss(), "weighting": Constant()} | arguments)


@pytest.mark.parametrize(
    ("value", "classes", "remedy"),
    [
        (255, 2, "of a mask of 0 and 255 pass labels > 0"),
        (3, 3, "4 classes, background included, need 4 channels"),
        (9, 3, "pass ignore_index=9"),
    ],
)
def test_a_label_that_is_no_class_comes_with_a_remedy(value, classes, remedy):
    with pytest.raises(ValueError, match=remedy):
        signed_distance_map(LABELS * value, classes)
