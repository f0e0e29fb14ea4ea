"""With the real Lightning: a linear network, four samples."""

import copy
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from boundaryloss import GradientRatio, Increase, LogBoundaryLoss, Rebalance, RegionBoundaryLoss
from boundaryloss.integrations.lightning import BoundarySchedule

IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = (IMAGES[:, 0] > 0).long()


class Network(lightning.LightningModule):
    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(0)
        self.network = torch.nn.Conv2d(1, 2, 1)
        self.loss = loss
        self.weights_of_steps = []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        self.weights_of_steps.append(self.loss.weights.tolist())
        return self.loss(self.network(images), labels)

    def validation_step(self, batch, batch_idx):
        self.loss(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class TwoOptimisers(Network):
    """The second steps every other batch, as in adversarial training."""

    def __init__(self, loss):
        super().__init__(loss)
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD([weight], lr=0.1) for weight in self.network.parameters()]

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        for optimiser in (first, second) if batch_idx % 2 == 0 else (first,):
            optimiser.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        for optimiser in (first, second) if batch_idx % 2 == 0 else (first,):
            optimiser.step()


def fit(folder, loss, interval="epoch", *, epochs=2, ckpt_path=None, network=Network, **options):
    callback = BoundarySchedule(interval)
    trainer = lightning.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **{"logger": False, "enable_checkpointing": False, **options},
    )
    module = network(loss)
    batches = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=2)
    trainer.fit(module, batches, batches, ckpt_path=ckpt_path)
    return trainer, module


pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 on torch 2.13
]


def test_boundary_schedule_counts_epochs(tmp_path):
    _, module = fit(tmp_path, RegionBoundaryLoss(cross_entropy, weighting=Rebalance(step=0.25)), epochs=3)
    weights = torch.tensor(module.weights_of_steps)
    expected = torch.tensor([(1, 0), (1, 0), (0.75, 0.25), (0.75, 0.25), (0.5, 0.5), (0.5, 0.5)])
    torch.testing.assert_close(weights, expected)


def test_boundary_schedule_starts_warm(tmp_path):
    weighting = GradientRatio(ratio=0.5, start=1, ramp=0)
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), LogBoundaryLoss(balance_lesions=True), weighting)
    trainer, module = fit(tmp_path, loss, epochs=2)
    first, second, third, fourth = (alpha for _, alpha in module.weights_of_steps)
    assert first == second == third == 0 < fourth  # the first step of epoch 1 measures
    assert trainer.callback_metrics["loss/boundary_weight"] > 0


def test_boundary_schedule_counts_steps_of_the_optimiser(tmp_path):
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=Increase(step=0.125))
    _, module = fit(tmp_path, loss, "step")
    assert [alpha for _, alpha in module.weights_of_steps] == [0, 0.125, 0.25, 0.375]
    _, module = fit(tmp_path, loss, "step", accumulate_grad_batches=2)
    assert [alpha for _, alpha in module.weights_of_steps] == [0, 0, 0.125, 0.125]


def test_boundary_schedule_logs_terms_and_weights_by_epoch(tmp_path):
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=Increase(start=0.0625, step=0.25))
    trainer, _ = fit(tmp_path, loss, epochs=1)
    module = Network(loss)
    terms = []
    for rows in (slice(0, 2), slice(2, 4)):  # the two batches, by hand
        region, boundary = loss.terms(module.network(IMAGES[rows]), LABELS[rows])
        terms.append(torch.stack([region, boundary]).detach())
        module.zero_grad()
        (region + 0.0625 * boundary).backward()
        torch.optim.SGD(module.parameters(), lr=0.1).step()
    region, boundary = torch.stack(terms).mean(dim=0)
    logged = trainer.callback_metrics
    assert set(logged) == {"loss/region", "loss/boundary", "loss/region_weight", "loss/boundary_weight"}
    torch.testing.assert_close(logged["loss/region"], region)
    torch.testing.assert_close(logged["loss/boundary"], boundary)
    assert (logged["loss/region_weight"], logged["loss/boundary_weight"]) == (1, 0.0625)


def test_boundary_schedule_logs_every_step(tmp_path):
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=Increase(step=0.25))
    logger = CSVLogger(tmp_path)
    fit(tmp_path, loss, "step", logger=logger)
    logger.save()
    lines = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    names, *rows = (line.split(",") for line in lines)
    assert [float(row[names.index("loss/boundary_weight")]) for row in rows] == [0, 0.25, 0.5, 0.75]
    assert len({row[names.index("loss/region")] for row in rows}) == 4


def test_boundary_schedule_counts_a_step_of_two_optimisers_once(tmp_path):
    def weights(module):
        return [alpha for _, alpha in module.weights_of_steps]

    def loss():
        return RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=Increase(step=0.125))

    trainer, module = fit(tmp_path, loss(), "step", network=TwoOptimisers)
    assert trainer.global_step == 6
    assert weights(module) == [0, 0.125, 0.25, 0.375]
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    options = {"epochs": 3, "ckpt_path": tmp_path / "half.ckpt", "network": TwoOptimisers}
    _, module = fit(tmp_path, loss(), "step", **options)
    assert weights(module) == [0.5, 0.625]


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_boundary_schedule_resumes(tmp_path, interval):
    def loss():
        return RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=Increase(step=0.125))

    _, whole = fit(tmp_path, loss(), interval, epochs=4)
    trainer, first = fit(tmp_path, loss(), interval, epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, second = fit(tmp_path, loss(), interval, epochs=4, ckpt_path=tmp_path / "half.ckpt")
    assert first.weights_of_steps + second.weights_of_steps == whole.weights_of_steps
    torch.testing.assert_close(second.network.state_dict(), whole.network.state_dict())


def test_boundary_schedule_leaves_no_hook_behind(tmp_path):
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss())
    fit(tmp_path, loss)
    assert not loss.region._forward_hooks
    assert not loss.boundary._forward_hooks
    copy.deepcopy(loss)


def test_boundary_schedule_finds_a_loss_inside_another(tmp_path):
    class Halved(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        @property
        def weights(self):
            return self.inner.weights

        def forward(self, logits, labels):
            return 0.5 * (self.inner(logits, labels) + self.inner(logits[..., ::2], labels[..., ::2]))

    inner = RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), weighting=Increase(step=0.5))
    trainer, module = fit(tmp_path, Halved(inner))
    assert [alpha for _, alpha in module.weights_of_steps] == [0, 0, 0.5, 0.5]
    assert "loss.inner/boundary" in trainer.callback_metrics


def test_boundary_schedule_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="'epoch' or 'step'"):
        BoundarySchedule("batch")
    with pytest.raises(ValueError, match="Network has no RegionBoundaryLoss; make it an attribute"):
        fit(tmp_path, torch.nn.CrossEntropyLoss())
