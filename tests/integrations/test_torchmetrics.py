"""With the real torchmetrics, and in the real Lightning."""

import pickle

import lightning
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from boundaryloss.integrations.torchmetrics import ContourMetric
from boundaryloss.metrics import contour_distances

GENERATOR = torch.Generator().manual_seed(0)
PREDICTION, TRUTH = torch.randint(0, 3, (2, 6, 9, 7), generator=GENERATOR)
PREDICTION[0][PREDICTION[0] == 2] = 0  # missed
TRUTH[1][TRUTH[1] == 2] = 0  # a false alarm
for both in (PREDICTION, TRUTH):
    both[2][both[2] == 2] = 0
OPTIONS = {"spacing": (0.7, 1.9), "tolerance": 1.3, "percentile": 90}


def scores_of(*batches, **options):
    metric = ContourMetric(num_classes=3, **options)
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("contour", ["faces", "centers", "surfels"])
def test_compute_gives_the_means_over_all_cases_and_counts_the_others(contour):
    found = contour_distances(PREDICTION, TRUTH, num_classes=3, contour=contour, **OPTIONS)
    batches = [(PREDICTION[:1], TRUTH[:1]), (PREDICTION[1:5], TRUTH[1:5]), (PREDICTION[5:], TRUTH[5:])]
    scores = scores_of(*batches, contour=contour, **OPTIONS)
    for name in ("hd", "hd95", "hd95_pooled", "assd", "masd", "nsd", "boundary_iou"):
        for label in (1, 2):
            expected = getattr(found, name)[:, label - 1].nanmean()
            torch.testing.assert_close(scores[f"{name}/{label}"], expected)
    counts = [scores[f"{name}/2"].item() for name in ("missed", "false_alarm", "both_empty", "cases")]
    assert counts == [1, 1, 1, 6]
    assert [scores[f"{name}/1"].item() for name in ("missed", "false_alarm", "both_empty", "cases")] == [
        0,
        0,
        0,
        6,
    ]


def test_a_mean_over_no_case_is_nan_and_a_miss_is_no_good_nsd():
    empty = torch.zeros_like(TRUTH)
    scores = scores_of((empty, TRUTH))
    assert scores["hd95/1"].isnan() and scores["nsd/1"] == 0 and scores["missed/1"] == 6
    assert scores_of((empty, empty))["nsd/1"].isnan()


def test_masks_give_what_labels_give():
    masks = [torch.stack([labels == 1, labels == 2], 1) for labels in (PREDICTION, TRUTH)]
    torch.testing.assert_close(scores_of(masks), scores_of((PREDICTION, TRUTH)), equal_nan=True)


def test_spacing_of_a_batch_takes_the_place_of_the_constructors():
    metric = ContourMetric(num_classes=3)
    metric.update(PREDICTION, TRUTH, spacing=(0.7, 1.9))
    torch.testing.assert_close(metric.compute(), scores_of((PREDICTION, TRUTH), spacing=(0.7, 1.9)))


def test_states_of_processes_add_up():
    one, other = (ContourMetric(num_classes=3) for _ in range(2))
    one.update(PREDICTION[:2], TRUTH[:2])
    other.update(PREDICTION[2:], TRUTH[2:])
    assert {reduction.__name__ for reduction in one._reductions.values()} == {"dim_zero_sum"}
    one.merge_state(other)
    torch.testing.assert_close(one.compute(), scores_of((PREDICTION, TRUTH)))


def test_forward_returns_the_batch_and_reset_forgets():
    metric = ContourMetric(num_classes=3)
    metric(PREDICTION[:3], TRUTH[:3])
    batch = metric(PREDICTION[3:], TRUTH[3:])
    torch.testing.assert_close(batch, scores_of((PREDICTION[3:], TRUTH[3:])))
    torch.testing.assert_close(pickle.loads(pickle.dumps(metric)).compute(), scores_of((PREDICTION, TRUTH)))
    metric.reset()
    metric.update(PREDICTION[3:], TRUTH[3:])
    torch.testing.assert_close(metric.compute(), batch)


def test_metric_is_part_of_a_collection():
    collection = MetricCollection([ContourMetric(num_classes=3)], prefix="val/")
    collection.update(PREDICTION, TRUTH)
    assert collection.compute()["val/missed/2"] == 1


@pytest.mark.parametrize(
    ("error", "message", "batch"),
    [
        (ValueError, r"num_classes - 1 = 2 channels, got 3; leave out", [torch.ones(1, 3, 4, 4).bool()] * 2),
        (TypeError, "prediction must be integer or bool", [torch.ones(1, 2, 4, 4)] * 2),
        (TypeError, "prediction must be a tensor", [None, TRUTH]),
        (ValueError, "label 3, outside 0..2", [TRUTH, torch.full_like(TRUTH, 3)]),
    ],
)
def test_update_refuses(error, message, batch):
    metric = ContourMetric(num_classes=3)
    with pytest.raises(error, match=message):
        metric.update(*batch)
    assert metric.cases == 0


def test_metric_refuses_one_class():
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        ContourMetric(num_classes=1)


class Network(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.contours = ContourMetric(num_classes=3)
        self.nsd = self.contours["nsd/1"]

    def validation_step(self, batch, batch_idx):
        self.contours.update(*batch)
        self.log("nsd", self.nsd)  # Lightning computes and resets

    def test_step(self, batch, batch_idx):
        self.contours.update(*batch)

    def on_test_epoch_end(self):
        self.log_dict(self.contours.compute())
        self.contours.reset()


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lightning_logs_means_over_the_epoch():
    loader = DataLoader(TensorDataset(PREDICTION, TRUTH), batch_size=4)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    network, expected = Network(), scores_of((PREDICTION, TRUTH))
    for _ in range(2):
        trainer.validate(network, loader, verbose=False)
        torch.testing.assert_close(trainer.callback_metrics["nsd"], expected["nsd/1"])
        trainer.test(network, loader, verbose=False)
        for name in ("hd95/1", "missed/2", "cases/1"):
            torch.testing.assert_close(trainer.callback_metrics[name], expected[name])
