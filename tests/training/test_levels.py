import dataclasses

import pytest
import torch
from datasets import task
from monai.losses.dice import DiceLoss, GeneralizedDiceLoss

from boundaryloss import BoundaryLoss, signed_distance_map
from boundaryloss.files.labels import IGNORE
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.padding import cut_back, pad_edges
from boundaryloss.training.model.levels import classes_of, loss_terms, region_masks
from boundaryloss.training.model.losses import MaskedRegionLoss, make_loss

SPACING = (1.0, 1.0, 2.0)
REGIONS = ((1, 2), (2,))
TASK = task((0, 1, 2), SPACING)
WITH_REGIONS = dataclasses.replace(TASK, regions=REGIONS, painted=(1, 2))
NAMES = ["ce", "dice", "gdl", "dicece"]


def batch(count=2, shape=(8, 8, 4), classes=3):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (count, 1, *shape), generator=generator)
    return torch.randn(count, classes, *shape, generator=generator), labels


def loss(name="dice+boundary", task=TASK):
    return make_loss(name, TrainConfig(form="linear", weighting="constant"), task)


def test_loss_terms_are_those_of_the_loss():
    logits, labels = batch()
    region, boundary = loss_terms(loss(), [logits], {"labels": labels}, TASK)
    expected = loss().terms(logits, labels)
    assert (region, boundary) == expected
    assert loss_terms(loss("dice"), [logits], {"labels": labels}, TASK) == (expected[0], None)


def test_loss_terms_measure_each_sample_with_its_spacing():
    logits, labels = batch()
    spacings = [(1.0, 1.0, 2.0), (0.5, 0.7, 3.0)]
    _, boundary = loss_terms(loss(), [logits], {"labels": labels, "spacing": spacings}, TASK)
    each = [BoundaryLoss(spacing=s)(logits[i : i + 1], labels[i : i + 1]) for i, s in enumerate(spacings)]
    torch.testing.assert_close(boundary, sum(each) / 2)
    same = {"labels": labels, "spacing": [spacings[1]] * 2}
    _, boundary = loss_terms(loss(), [logits], same, TASK)
    torch.testing.assert_close(boundary, BoundaryLoss(spacing=spacings[1])(logits, labels))


def test_loss_terms_take_the_map_of_the_volume():
    logits, labels = batch()
    phi = signed_distance_map(labels[:, 0], 3, spacing=SPACING)
    given = {"labels": labels, "signed_distance": phi}
    expected = loss().boundary(logits, labels)
    torch.testing.assert_close(loss_terms(loss(), [logits], given, TASK)[1], expected)
    given["signed_distance"] = 2 * phi
    torch.testing.assert_close(loss_terms(loss(), [logits], given, TASK)[1], 2 * expected)


@pytest.mark.parametrize("levels", [1, 2])
def test_loss_terms_of_levels_have_halving_weights_and_larger_spacing(levels):
    logits, labels = batch()
    coarse = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    region, boundary = loss_terms(
        loss(),
        [logits, coarse],
        {"labels": labels},
        TASK,
        reach=levels,
    )
    thin = torch.nn.functional.interpolate(labels.float(), (4, 4, 4), mode="nearest-exact").long()
    first, second = loss().terms(logits, labels), loss().terms(coarse, thin, spacing=(2.0, 2.0, 2.0))
    torch.testing.assert_close(region, (2 * first[0] + second[0]) / 3)
    torch.testing.assert_close(boundary, first[1] if levels == 1 else (2 * first[1] + second[1]) / 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("regions", [False, True])
def test_masked_region_loss_is_monais_where_all_is_labelled(name, regions):
    logits, labels = batch()
    if not regions:
        expected = loss(name)(logits, labels)
        torch.testing.assert_close(MaskedRegionLoss(name, "softmax", IGNORE)(logits, labels), expected)
        return
    logits, target = logits[:, :2], region_masks(labels, REGIONS, ignore=False)
    parts = {
        "ce": [torch.nn.BCEWithLogitsLoss()],
        "dice": [DiceLoss(sigmoid=True)],
        "gdl": [GeneralizedDiceLoss(sigmoid=True)],
        "dicece": [DiceLoss(sigmoid=True), torch.nn.BCEWithLogitsLoss()],
    }
    expected = sum(part(logits, target.float()) for part in parts[name])
    torch.testing.assert_close(loss(name, WITH_REGIONS)(logits, target), expected)
    more = region_masks(labels, REGIONS, ignore=True)
    torch.testing.assert_close(MaskedRegionLoss(name, "sigmoid", IGNORE)(logits, more), expected)


@pytest.mark.parametrize("name", [f"{name}+boundary" for name in NAMES])
@pytest.mark.parametrize("regions", [False, True])
def test_loss_terms_know_nothing_of_unlabelled_voxels(name, regions):
    logits, labels = batch()
    logits = logits[:, :2] if regions else logits
    labels[:, :, :, 5:] = IGNORE
    known = dataclasses.replace(WITH_REGIONS if regions else TASK, ignore_value=9)
    function = loss(name, known)
    values = []
    for noise in (0.0, 3.0):
        changed = logits.clone()
        changed[..., 5:, :] += noise
        changed.requires_grad_()
        region, boundary = loss_terms(function, [changed], {"labels": labels}, known)
        (region + boundary).backward()
        assert not changed.grad[..., 5:, :].any() and changed.grad[..., :5, :].any()
        values.append((region.item(), boundary.item()))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_loss_terms_map_of_the_volume_leaves_out_unlabelled_voxels():
    logits, labels = batch()
    labels[:, :, :, 5:] = IGNORE
    known = dataclasses.replace(TASK, ignore_value=9)
    phi = signed_distance_map(labels[:, 0], 3, spacing=SPACING, ignore_index=IGNORE)
    function = loss(task=known)
    given = loss_terms(function, [logits], {"labels": labels, "signed_distance": phi}, known)
    torch.testing.assert_close(given, loss_terms(function, [logits], {"labels": labels}, known))


def test_classes_of_regions_paints_the_later_over_the_earlier():
    logits = torch.tensor([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])[None, :, :, None]
    assert classes_of(logits, WITH_REGIONS)[0, :, 0].tolist() == [0, 1, 2, 2]
    assert classes_of(logits, TASK)[0, :, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("map_from", ["patch", "volume"])
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("name", [*NAMES, "boundary", *(f"{name}+boundary" for name in NAMES)])
def test_loss_terms_of_a_padded_batch_are_those_of_its_inside(name, regions, map_from):
    """Whatever lies in the padding: objects touch the edges, which are no boundary."""
    logits, labels = batch()
    logits = logits[:, :2] if regions else logits
    known = WITH_REGIONS if regions else TASK
    inner = {"labels": labels}
    if map_from == "volume":
        target = region_masks(labels, REGIONS, ignore=False) if regions else labels[:, 0]
        classes = () if regions else (3,)
        inner["signed_distance"] = signed_distance_map(target, *classes, spacing=SPACING)
    expected = loss_terms(loss(name, known), [logits], inner, known)

    size = (13, 8, 16)
    padded = {key: pad_edges(value, size) for key, value in inner.items()}
    padded["inside"] = torch.zeros(2, 1, *size, dtype=torch.bool)
    cut_back(padded["inside"], labels.shape[2:]).fill_(True)
    around = torch.randn(2, logits.shape[1], *size, generator=torch.Generator().manual_seed(2))
    cut_back(around, labels.shape[2:]).copy_(logits)
    known = dataclasses.replace(known, padded=True)
    torch.testing.assert_close(loss_terms(loss(name, known), [around], padded, known), expected)
