import pytest
import torch
from datasets import task
from monai.losses.tversky import TverskyLoss

from boundaryloss import BoundaryLoss, RegionBoundaryLoss
from boundaryloss.files import UserError
from boundaryloss.training.config import LOSSES, TrainConfig
from boundaryloss.training.model.losses import make_loss

TASK = task((0, 1, 2))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, generator=generator)
    return logits, torch.randint(3, (2, 1, 16, 16), generator=generator)


@pytest.mark.parametrize("name", LOSSES)
def test_make_loss_gives_a_scalar_with_gradient(name, batch):
    logits, labels = batch
    logits.requires_grad_()
    loss = make_loss(name, TrainConfig(), TASK)(logits, labels)
    loss.backward()
    assert loss.shape == () and logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_make_loss_prefers_the_truth(name, batch):
    logits, labels = batch
    perfect = 20 * torch.nn.functional.one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    loss = make_loss(name, TrainConfig(), TASK)
    assert loss(perfect, labels) < loss(logits, labels)


@pytest.mark.parametrize("name", ["ce", "dice", "gdl", "dicece"])
def test_make_loss_with_boundary_is_the_weighted_sum(name, batch):
    config = TrainConfig(form="linear", weighting="rebalance", weighting_options={"step": 0.25})
    combined = make_loss(f"{name}+boundary", config, task((0, 1, 2), (0.5, 2.0)))
    assert isinstance(combined, RegionBoundaryLoss)
    combined.set_epoch(1)
    region, boundary = make_loss(name, config, TASK)(*batch), BoundaryLoss(spacing=(0.5, 2.0))(*batch)
    torch.testing.assert_close(combined(*batch), 0.75 * region + 0.25 * boundary)


def test_make_loss_official_cuts_distances_to_whole_pixels():
    """One pixel of 4 x 4: eight neighbours at 1 or the root of 2, cut to 1; seven at 2 to 2.8, cut to 2."""
    labels = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    labels[..., 1, 1] = 1
    everywhere = torch.tensor([-50.0, 50.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    loss = make_loss("official.BoundaryLoss", TrainConfig(), TASK)(everywhere, labels)
    assert float(loss) == pytest.approx((8 * 1 + 7 * 2) / 16)


def test_make_loss_monai_is_ours_with_pixels(batch):
    monai, ours = make_loss("monai.BoundaryLoss", TrainConfig(), TASK), BoundaryLoss(contour="centers")
    torch.testing.assert_close(monai(*batch), ours(*batch))


@pytest.mark.parametrize("term", ["monai.BoundaryLoss", "official.BoundaryLoss"])
def test_make_loss_with_another_term_follows_the_schedule(term, batch):
    config = TrainConfig(weighting="constant", weighting_options={"alpha": 0.5})
    combined = make_loss(f"ce+{term}", config, TASK)
    region, boundary = (make_loss(name, TrainConfig(), TASK)(*batch) for name in ("ce", term))
    torch.testing.assert_close(combined(*batch), region + 0.5 * boundary)


def test_make_loss_gdl_on_an_empty_slice_is_finite():
    logits, labels = torch.zeros(1, 2, 16, 16, requires_grad=True), torch.zeros(1, 1, 16, 16).long()
    make_loss("gdl+boundary", TrainConfig(), TASK)(logits, labels).backward()
    assert logits.grad.isfinite().all()


IMPORTED = "ce+monai.losses.tversky.TverskyLoss"
FIELDS = {"softmax": True, "to_onehot_y": True, "alpha": 0.7, "beta": 0.3}


def test_make_loss_imports_either_part(batch):
    little = {"form": "linear", "weighting": "constant", "weighting_options": {"alpha": 0.05}}
    config = TrainConfig(loss=IMPORTED, loss_options=FIELDS, **little)
    theirs = TverskyLoss(**FIELDS)(*batch)
    region = make_loss("ce", config, TASK)(*batch)
    torch.testing.assert_close(make_loss(IMPORTED, config, TASK)(*batch), region + 0.05 * theirs)
    swapped = make_loss(f"{IMPORTED.removeprefix('ce+')}+boundary", config, TASK)
    torch.testing.assert_close(swapped(*batch), theirs + 0.05 * BoundaryLoss()(*batch))


def test_make_loss_takes_a_function(batch):
    path = "torch.nn.functional.multi_margin_loss"
    with pytest.raises(UserError, match=r"labels \(2, 1, 16, 16\), raises .*; see loss_options"):
        make_loss(path, TrainConfig(loss=path), TASK)
    path = "monai.losses.focal_loss.softmax_focal_loss"
    with pytest.raises(UserError, match=r"gives a tensor \(2, 3, 16, 16\); it must give one finite number"):
        make_loss(path, TrainConfig(loss=path), TASK)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.Loss", "nowhere.Loss: ModuleNotFoundError: No module named 'nowhere'; .* PYTHONPATH"),
        ("monai.losses.NoLoss", "AttributeError: .* has no attribute 'NoLoss'"),
        ("monai.losses.DiceLoss", "unexpected keyword argument 'gamma'; its arguments are loss_options"),
    ],
)
def test_make_loss_says_why_an_import_fails(path, message):
    with pytest.raises(UserError, match=message):
        make_loss(path, TrainConfig(loss=path, loss_options={"gamma": 2}), TASK)


@pytest.mark.parametrize("loss", [IMPORTED, IMPORTED.removeprefix("ce+")])
def test_make_loss_refuses_an_import_where_voxels_have_no_label(loss):
    config = TrainConfig(loss=loss, loss_options=FIELDS)
    with pytest.raises(UserError, match="TverskyLoss knows neither regions nor unlabelled voxels"):
        make_loss(loss, config, task(padded=True))
