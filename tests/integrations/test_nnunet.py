"""The loss of nnU-Net's trainer, without nnU-Net; with it: test_nnunet_training.py."""

import importlib
import sys
import types

import pytest
import torch
from torch.nn import functional

from boundaryloss import BoundaryLoss, Constant, GradientRatio, Increase, LogBoundaryLoss
from boundaryloss.integrations.nnunet.loss import with_boundary

SPACING = (2.0, 0.5, 1.0)
SHAPES = [(2, 12, 10, 8), (2, 6, 5, 4), (2, 3, 3, 2)]  # (batch, *space) of the levels


def levels(channels, targets):
    """Logits and targets of three levels; `targets` makes one of a shape (batch, *space)."""
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(b, channels, *space, generator=generator).requires_grad_() for b, *space in SHAPES]
    return logits, [targets(shape, generator) for shape in SHAPES]


def labels(shape, generator):
    return torch.randint(0, 4, shape, generator=generator, dtype=torch.int16).unsqueeze(1)


def masks(shape, generator):
    """Two regions and what is ignored, in none of the regions."""
    ignored = torch.rand(shape, generator=generator) < 0.2
    regions = [(torch.rand(shape, generator=generator) < share) & ~ignored for share in (0.5, 0.1)]
    return torch.stack([*regions, ignored], dim=1)


def cross_entropy(logits, target):
    """A region loss that wants every level, as nnU-Net's does."""
    assert len(logits) == len(target) == len(SHAPES)
    pairs = zip(logits, target, strict=True)
    return sum(functional.cross_entropy(z, t[:, 0].long(), ignore_index=3) for z, t in pairs)


def nothing(logits, target):
    return torch.zeros(())


def boundary_of(**settings):
    loss = with_boundary(nothing, Constant(1), spacing=SPACING, **settings)
    loss.set_epoch(0)
    return loss


def test_with_boundary_of_labels_adds_the_term_of_the_first_level():
    logits, target = levels(4, labels)
    weighting = Increase(step=0.25)
    loss = with_boundary(cross_entropy, weighting, spacing=SPACING, has_regions=False, ignore_label=None)
    region, boundary = cross_entropy(logits, target), BoundaryLoss(spacing=SPACING)(logits[0], target[0])
    assert boundary.abs() > 1e-3
    for epoch, weight in ((0, 0.0), (2, 0.5)):
        loss.set_epoch(epoch)
        torch.testing.assert_close(loss(logits, target), region + weight * boundary)


def test_with_boundary_leaves_the_ignore_label_out():
    logits, target = levels(3, labels)
    loss = boundary_of(has_regions=False, ignore_label=3)(logits, target)
    torch.testing.assert_close(loss, BoundaryLoss(spacing=SPACING, ignore_index=3)(logits[0], target[0]))
    loss.backward()
    ignored = (target[0] == 3).expand_as(logits[0])
    assert ignored.any() and logits[0].grad[~ignored].any() and not logits[0].grad[ignored].any()


def test_with_boundary_of_regions_is_a_sigmoid_of_every_channel():
    logits, target = levels(3, masks)
    loss = boundary_of(has_regions=True, ignore_label=None)(logits, target)
    torch.testing.assert_close(
        loss, BoundaryLoss(activation="sigmoid", spacing=SPACING)(logits[0], target[0])
    )


def test_with_boundary_of_regions_leaves_the_ignored_channel_out():
    logits, target = levels(2, masks)
    loss = boundary_of(has_regions=True, ignore_label=3)(logits, target)
    ignored = target[0][:, -1:]
    expected = BoundaryLoss(activation="sigmoid", spacing=SPACING)(
        logits[0], target[0][:, :-1], mask=~ignored
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert not logits[0].grad[ignored.expand_as(logits[0])].any() and logits[0].grad.any()


@pytest.mark.parametrize("has_regions", [False, True])
def test_with_boundary_is_the_same_without_deep_supervision(has_regions):
    logits, target = levels(2, masks if has_regions else lambda *a: labels(*a) % 2)
    loss = boundary_of(has_regions=has_regions, ignore_label=3 if has_regions else None)
    torch.testing.assert_close(loss(logits[0], target[0]), loss(logits, target))


def test_with_boundary_of_a_single_region():
    logits, target = levels(1, lambda *a: masks(*a)[:, :1])
    loss = boundary_of(has_regions=True, ignore_label=None)(logits, target)
    torch.testing.assert_close(
        loss, BoundaryLoss(activation="sigmoid", spacing=SPACING)(logits[0], target[0])
    )


def test_warm_start_trainer_begins_at_a_share_of_its_epochs(monkeypatch):
    class Trainer:  # as if nnU-Net were installed
        num_epochs = 200

    name = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
    for parent in ("nnunetv2", "nnunetv2.training", "nnunetv2.training.nnUNetTrainer", name):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    sys.modules[name].nnUNetTrainer = Trainer
    monkeypatch.delitem(sys.modules, "boundaryloss.integrations.nnunet.trainer", raising=False)
    trainer = importlib.import_module("boundaryloss.integrations.nnunet.trainer")
    monkeypatch.delitem(sys.modules, "boundaryloss.integrations.nnunet.trainer")
    weighting = trainer.nnUNetTrainerBoundaryWarmStart().weighting
    assert [weighting.at(epoch) for epoch in (0, 133, 144, 154, 199)] == pytest.approx([0, 0, 0.25, 0.5, 0.5])


def test_trainer_without_nnunet_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nnunetv2", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "boundaryloss.integrations.nnunet.trainer", raising=False)
    with pytest.raises(ImportError, match=r'pip install "boundaryloss\[nnunet\]"'):
        importlib.import_module("boundaryloss.integrations.nnunet.trainer")


def test_with_boundary_balances_the_log_form():
    loss = with_boundary(
        cross_entropy,
        GradientRatio(ratio=0.5, ramp=0),
        spacing=SPACING,
        has_regions=False,
        ignore_label=None,
        form=LogBoundaryLoss,
    )
    for _ in range(2):
        logits, target = levels(4, labels)
        loss(logits, target).backward()
    region, boundary = (
        torch.autograd.grad(term, logits[0])[0]
        for term in (
            cross_entropy(logits, target),
            loss.weights[1] * LogBoundaryLoss(spacing=SPACING)(logits[0], target[0]),
        )
    )
    torch.testing.assert_close(boundary.norm(), 0.5 * region.norm())
    torch.testing.assert_close(logits[0].grad, region + boundary)
