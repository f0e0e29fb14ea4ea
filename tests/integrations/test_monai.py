"""Held against the real MONAI."""

import itertools
import warnings

import monai.losses
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.transforms import (
    CenterSpatialCrop,
    Compose,
    EnsureChannelFirst,
    EnsureTyped,
    Flipd,
    Invertd,
    RandSpatialCropd,
    Spacingd,
    SqueezeDim,
)

import boundaryloss
from boundaryloss import Constant, GradientRatio, Increase, RegionBoundaryLoss, signed_distance_map
from boundaryloss.integrations.monai import (
    BoundaryLoss,
    DiceCEBoundaryLoss,
    SignedDistanceMap,
    SignedDistanceMapD,
    SignedDistanceMapd,
    SignedDistanceMapDict,
)

GENERATOR = torch.Generator().manual_seed(0)
SHAPES = {2: (13, 11), 3: (7, 9, 8)}
LOGITS = {axes: torch.randn(2, 3, *shape, generator=GENERATOR) for axes, shape in SHAPES.items()}
LABELS = {axes: torch.zeros(2, 1, *shape, dtype=torch.long) for axes, shape in SHAPES.items()}
LABELS[2][0, 0, 2:9, 3:8] = 1
LABELS[2][0, 0, 4:6, 4:6] = 2
LABELS[2][1, 0, 5, 5] = 1  # one pixel; class 2 is absent
LABELS[3][0, 0, 1:6, 2:7, 2:6] = 1
LABELS[3][1, 0, 3:5, 3:5, 3:5] = 2


def same_as_monai(input, target, **arguments):
    mine = BoundaryLoss(**arguments, contour="centers")
    first, second = input.clone().requires_grad_(), input.clone().requires_grad_()
    value, expected = mine(first, target), monai.losses.BoundaryLoss(**arguments)(second, target)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    value.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(first.grad, second.grad, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("activation", [{"softmax": True}, {"sigmoid": True}, {"other_act": torch.tanh}, {}])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("axes", [2, 3])
def test_monai_boundary_loss_agrees_with_monai(axes, reduction, activation):
    one_hot = monai.networks.one_hot(LABELS[axes], 3)
    for background, batch in itertools.product([True, False], repeat=2):
        arguments = {"include_background": background, "batch": batch, "reduction": reduction, **activation}
        same_as_monai(LOGITS[axes], LABELS[axes], to_onehot_y=True, **arguments)
        same_as_monai(LOGITS[axes], LABELS[axes].float(), to_onehot_y=True, **arguments)
        same_as_monai(LOGITS[axes], LABELS[axes][:, 0], to_onehot_y=True, **arguments)
        same_as_monai(LOGITS[axes], one_hot, **arguments)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.filterwarnings("ignore:single channel")
def test_monai_boundary_loss_agrees_with_monai_on_a_single_channel(reduction):
    for arguments in ({"sigmoid": True}, {"softmax": True}, {"sigmoid": True, "include_background": False}):
        for target in (LABELS[2] > 0, (LABELS[2] > 0).float(), LABELS[2]):
            same_as_monai(LOGITS[2][:, :1], target, reduction=reduction, **arguments)


def test_monai_boundary_loss_warns_as_monai():
    arguments = {"softmax": True, "to_onehot_y": True, "include_background": False}
    messages = []
    for loss in (BoundaryLoss(**arguments), monai.losses.BoundaryLoss(**arguments)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss(LOGITS[2][:, :1], (LABELS[2] > 0).float())
        messages.append([str(warning.message) for warning in caught])
    assert messages[0] == messages[1]
    assert len(messages[0]) == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"sigmoid": True, "softmax": True}, ValueError),
        ({"other_act": 3}, TypeError),
        ({"reduction": "max"}, ValueError),
    ],
)
def test_monai_boundary_loss_refuses_what_monai_refuses(arguments, error):
    for loss in (BoundaryLoss, monai.losses.BoundaryLoss):
        with pytest.raises(error):
            loss(**arguments)


def test_monai_boundary_loss_refuses_shapes_that_do_not_match():
    with pytest.raises(AssertionError, match="to_onehot_y=True"):
        BoundaryLoss(softmax=True)(LOGITS[2], LABELS[2])
    with pytest.raises(AssertionError, match=r"\(2, 1, 13, 11\) is needed$"):
        BoundaryLoss(softmax=True, to_onehot_y=True)(LOGITS[2], LOGITS[2])
    with pytest.raises(ValueError, match="2-D or 3-D"):
        BoundaryLoss(sigmoid=True)(LOGITS[2][0], LABELS[2][0])


def test_monai_boundary_loss_has_the_options_of_ours():
    labels = LABELS[3].clone()
    labels[:, :, 0] = 255
    options = {"spacing": (2.0, 1.0, 0.5), "as_distance": True, "ignore_index": 255}
    mine = BoundaryLoss(False, to_onehot_y=True, softmax=True, **options)
    expected = boundaryloss.BoundaryLoss(**options)
    torch.testing.assert_close(mine(LOGITS[3], labels), expected(LOGITS[3], labels))
    mask = LABELS[3][:, 0] != 1
    torch.testing.assert_close(
        mine(LOGITS[3], labels, spacing=(1, 1, 1), mask=mask),
        expected(LOGITS[3], labels, spacing=(1, 1, 1), mask=mask),
    )


@pytest.mark.parametrize("make", [BoundaryLoss, DiceCEBoundaryLoss])
def test_monai_losses_make_plain_tensors_of_meta_tensors(make):
    loss = make(to_onehot_y=True, softmax=True)
    value = loss(MetaTensor(LOGITS[2]), MetaTensor(LABELS[2]))
    assert type(value) is torch.Tensor
    assert torch.equal(value, loss(LOGITS[2], LABELS[2]))


@pytest.mark.parametrize("make", [BoundaryLoss, DiceCEBoundaryLoss])
def test_monai_losses_work_in_deep_supervision(make):
    loss = make(to_onehot_y=True, softmax=True)
    levels = [LOGITS[2].clone().requires_grad_(), LOGITS[2][..., ::2, ::2].clone().requires_grad_()]
    coarse = torch.nn.functional.interpolate(LABELS[2].float(), levels[1].shape[2:], mode="nearest-exact")
    value = DeepSupervisionLoss(loss)(levels, LABELS[2].float())
    torch.testing.assert_close(value, loss(levels[0], LABELS[2]) + 0.5 * loss(levels[1], coarse))
    value.backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)


def test_monai_losses_are_made_from_a_bundle():
    parser = ConfigParser()
    parser.read_config(
        {
            "boundary": {
                "_target_": "boundaryloss.integrations.monai.BoundaryLoss",
                "softmax": True,
                "to_onehot_y": True,
                "spacing": [3.0, 1.0],
            },
            "loss": {
                "_target_": "DeepSupervisionLoss",
                "loss": {
                    "_target_": "boundaryloss.integrations.monai.DiceCEBoundaryLoss",
                    "softmax": True,
                    "to_onehot_y": True,
                    "squared_pred": True,
                    "weighting": {"_target_": "boundaryloss.Increase", "step": 0.1},
                },
            },
            "preprocessing": {
                "_target_": "boundaryloss.integrations.monai.SignedDistanceMapd",
                "keys": "label",
                "num_classes": 3,
            },
        }
    )
    boundary = parser.get_parsed_content("boundary")
    expected = boundaryloss.BoundaryLoss(spacing=(3, 1), include_background=True)
    torch.testing.assert_close(boundary(LOGITS[2], LABELS[2]), expected(LOGITS[2], LABELS[2]))
    loss = parser.get_parsed_content("loss").loss
    assert loss.weighting == Increase(step=0.1)
    assert loss.region.dice.squared_pred
    assert parser.get_parsed_content("preprocessing")({"label": LABELS[2][0]})["label"].shape == (2, 13, 11)


def test_monai_loss_is_made_from_a_block_that_auto3dseg_has_not_resolved():
    config = {"multiclass": True, "loss": {"_target_": "boundaryloss.integrations.monai.DiceCEBoundaryLoss"}}
    config["loss"] |= {"softmax": "$@multiclass", "to_onehot_y": "$@multiclass", "weighting": 0.02}
    block = ConfigParser(config).get_parsed_content("loss", instantiate=False).config  # its SegResNet's way
    loss = ConfigParser(block).get_parsed_content()
    assert loss.weighting == Constant(0.02) and loss.boundary.softmax


def test_dice_ce_boundary_loss_is_the_sum_of_its_terms():
    arguments = {"include_background": False, "to_onehot_y": True, "softmax": True}
    loss = DiceCEBoundaryLoss(**arguments, spacing=(2, 1), lambda_ce=0.5)
    region = DiceCELoss(**arguments, lambda_ce=0.5)(LOGITS[2], LABELS[2])
    boundary = BoundaryLoss(**arguments, spacing=(2, 1))(LOGITS[2], LABELS[2])
    torch.testing.assert_close(loss(LOGITS[2], LABELS[2]), region + 0.01 * boundary)


def test_dice_ce_boundary_loss_gives_both_terms_the_activation():
    by_name, by_function = (
        DiceCEBoundaryLoss(to_onehot_y=True, **activation)
        for activation in ({"softmax": True}, {"other_act": lambda x: x.softmax(1)})
    )
    torch.testing.assert_close(by_name.terms(LOGITS[2], LABELS[2]), by_function.terms(LOGITS[2], LABELS[2]))


@pytest.mark.parametrize("batch", [False, True])
def test_dice_ce_boundary_loss_reduces_both_terms(batch):
    arguments = {"to_onehot_y": True, "softmax": True, "reduction": "sum", "batch": batch}
    terms = DiceCEBoundaryLoss(**arguments).terms(LOGITS[2], LABELS[2])
    expected = [loss(**arguments)(LOGITS[2], LABELS[2]) for loss in (DiceCELoss, BoundaryLoss)]
    torch.testing.assert_close(terms, tuple(expected))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"reduction": "none"}, "none"),
        ({"weight": torch.ones(3)}, "weight would reach Dice and cross-entropy"),
    ],
)
def test_dice_ce_boundary_loss_refuses_what_cannot_reach_both_terms(argument, message):
    with pytest.raises(ValueError, match=message):
        DiceCEBoundaryLoss(to_onehot_y=True, softmax=True, **argument)


@pytest.mark.parametrize("make", [BoundaryLoss, DiceCEBoundaryLoss])
def test_monai_losses_refuse_what_is_no_tensor(make):
    loss = make(to_onehot_y=True, softmax=True)
    for input, target in ((None, LABELS[2]), (LOGITS[2], LABELS[2].numpy()), (LOGITS[2], None)):
        with pytest.raises(TypeError, match="input and target must be tensors"):
            loss(input, target)
    with pytest.raises(TypeError, match="logits must be of a floating type"):
        loss(LOGITS[2].long(), LABELS[2])


def test_monai_boundary_loss_is_a_term_of_region_boundary_loss():
    arguments = {"to_onehot_y": True, "softmax": True}
    loss = RegionBoundaryLoss(DiceCELoss(**arguments), BoundaryLoss(**arguments), Constant(0.5))
    labels = LABELS[2].float()  # as MONAI reads them from files
    expected = loss.region(LOGITS[2], labels) + 0.5 * loss.boundary(LOGITS[2], labels)
    torch.testing.assert_close(loss(LOGITS[2], labels), expected)


def test_monai_boundary_loss_compiles_without_a_graph_break():
    loss = BoundaryLoss(to_onehot_y=True, softmax=True, reduction="none")
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(LOGITS[2], LABELS[2]), loss(LOGITS[2], LABELS[2]))


AFFINE = torch.diag(torch.tensor([2.0, 1.0, 0.5, 1.0], dtype=torch.float64))


def test_signed_distance_map_transform_takes_spacing_from_the_meta_tensor():
    label = MetaTensor(LABELS[3][0].float(), affine=AFFINE)
    phi = SignedDistanceMap(num_classes=3)(label)
    assert isinstance(phi, MetaTensor)
    assert phi.dtype == torch.float32
    assert torch.equal(phi.affine, AFFINE)
    assert torch.equal(phi.as_tensor(), signed_distance_map(LABELS[3][0], 3, spacing=(2, 1, 0.5))[0])
    unit = SignedDistanceMap(num_classes=3, spacing=(1, 1, 1))(label)
    assert torch.equal(unit.as_tensor(), signed_distance_map(LABELS[3][0], 3)[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_signed_distance_map_transform_knows_the_axes_of_a_slice_or_asks(axis):
    volume = MetaTensor(LABELS[3][0], affine=AFFINE)
    indexed = volume[(slice(None), *[slice(None)] * axis, 4)]  # keeps the affine of three axes
    for image in (indexed, MetaTensor(indexed.as_tensor(), affine=AFFINE)):
        with pytest.raises(ValueError, match=r"spacings \[2.0, 1.0, 0.5\] of the affine have the 2 axes"):
            SignedDistanceMap(3)(image)
    size = [*volume.shape[1:]]
    size[axis] = 1
    cut = SqueezeDim(axis + 1)(CenterSpatialCrop(size)(volume))
    spacing = [step for i, step in enumerate((2, 1, 0.5)) if i != axis]
    expected = signed_distance_map(cut.as_tensor(), 3, spacing=spacing)[0]
    assert torch.equal(SignedDistanceMap(3)(cut).as_tensor(), expected)
    assert torch.equal(
        SignedDistanceMap(3, spacing=spacing)(MetaTensor(cut.as_tensor(), affine=AFFINE)).as_tensor(),
        expected,
    )
    isotropic = MetaTensor(cut.as_tensor(), affine=torch.eye(4) * 0.7)
    expected = signed_distance_map(cut.as_tensor(), 3, spacing=(0.7, 0.7))[0]
    torch.testing.assert_close(SignedDistanceMap(3)(isotropic).as_tensor(), expected)


def test_signed_distance_map_transform_takes_the_first_axes_of_a_file_of_two():
    label = MetaTensor(
        LABELS[2][0], affine=AFFINE, meta={"spatial_shape": SHAPES[2]}
    )  # as LoadImage reads it
    expected = signed_distance_map(LABELS[2][0], 3, spacing=(2, 1))[0]
    assert torch.equal(SignedDistanceMap(3)(label).as_tensor(), expected)


def test_signed_distance_map_transform_takes_an_affine_of_fewer_axes():
    label = EnsureChannelFirst(channel_dim="no_channel")(LABELS[2][0, 0])  # MONAI takes a matrix for a row
    assert torch.equal(SignedDistanceMap(3)(label).as_tensor(), signed_distance_map(LABELS[2][0], 3)[0])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_signed_distance_map_transform_takes_masks_of_any_kind(kind, dtype):
    masks = torch.cat([LABELS[2][0] == 1, LABELS[2][0] > 0])  # they overlap
    phi = SignedDistanceMap()(kind(masks.to(dtype)))
    assert type(phi) is type(kind(masks))
    torch.testing.assert_close(torch.as_tensor(phi), signed_distance_map(masks[None])[0])


@pytest.mark.parametrize("labels", [torch.rand(1, 5, 5), torch.zeros(2, 5, 5).long()])
def test_signed_distance_map_transform_refuses_what_is_no_label_map(labels):
    with pytest.raises(ValueError, match="leave num_classes out"):
        SignedDistanceMap(num_classes=2)(labels)


@pytest.mark.parametrize("labels", [None, [[[0, 1]]]])
def test_signed_distance_map_transform_refuses_what_is_no_tensor(labels):
    with pytest.raises(TypeError, match="must be a tensor or an array"):
        SignedDistanceMap(num_classes=2)(labels)


def test_signed_distance_map_of_a_dictionary_replaces_or_adds():
    assert SignedDistanceMapD is SignedDistanceMapDict is SignedDistanceMapd
    item = {"label": LABELS[2][0], "other": LABELS[2][1]}
    replaced = SignedDistanceMapd("label", 3)(item)
    assert replaced["label"].shape == (2, 13, 11)
    assert replaced["other"] is item["other"]
    added = SignedDistanceMapd(["label", "absent"], 3, new_key_prefix="phi_", allow_missing_keys=True)(item)
    assert added["label"] is item["label"]
    assert torch.equal(added["phi_label"], replaced["label"])
    with pytest.raises(KeyError):
        SignedDistanceMapd("absent", 3)(item)


def test_signed_distance_map_is_cropped_and_batched_with_its_label():
    prepare = Compose(
        [
            SignedDistanceMapd("label", 3, new_key_prefix="phi_"),
            RandSpatialCropd(["label", "phi_label"], (4, 4, 4), random_size=False),
        ]
    ).set_random_state(0)
    batch = list_data_collate([prepare({"label": MetaTensor(label, affine=AFFINE)}) for label in LABELS[3]])
    assert batch["phi_label"].shape == (2, 2, 4, 4, 4)
    for channel in (0, 1):  # negative inside, in the patch too
        assert torch.equal(batch["phi_label"][:, channel] < 0, batch["label"][:, 0] == channel + 1)


def test_signed_distance_map_goes_back_to_the_grid_of_the_file():
    item = {"label": MetaTensor(LABELS[3][0].float(), affine=AFFINE)}
    prepare = Compose(
        [
            EnsureTyped("label"),
            Flipd("label", 0),
            Spacingd("label", (1, 1, 1), mode="nearest"),
            SignedDistanceMapd("label", 3, new_key_prefix="phi_"),
        ]
    )
    prepared = decollate_batch(list_data_collate([prepare(item)]))[0]
    back = Invertd("phi_label", prepare, orig_keys="label", nearest_interp=True)(prepared)["phi_label"]
    assert back.shape == (2, *LABELS[3].shape[2:])
    assert torch.equal((back.as_tensor() < 0)[0], (LABELS[3][0] == 1)[0])


def test_dice_ce_boundary_loss_balances_meta_tensors_and_returns_plain_ones():
    loss = DiceCEBoundaryLoss(to_onehot_y=True, softmax=True, weighting=GradientRatio(ratio=0.5, ramp=0))
    for _ in range(2):
        value = loss(MetaTensor(LOGITS[2]).requires_grad_(), MetaTensor(LABELS[2]))
        value.backward()
    assert type(value) is torch.Tensor and loss.weights[1] > 0


def test_dice_ce_boundary_loss_starts_warm():
    weighting = GradientRatio(ratio=0.5, start=3, ramp=0)
    loss = DiceCEBoundaryLoss(to_onehot_y=True, softmax=True, weighting=weighting)
    values = []
    for epoch in (0, 2, 3):
        loss.set_epoch(epoch)
        values.append(float(loss(LOGITS[2].clone().requires_grad_(), LABELS[2]).detach()))
    region = DiceCELoss(include_background=True, to_onehot_y=True, softmax=True)(LOGITS[2], LABELS[2])
    assert values[:2] == [float(region)] * 2 and values[2] != values[0]
