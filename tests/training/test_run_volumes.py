import csv
import dataclasses
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from datasets import TURNED, decathlon, nnunet, save, stacked

from boundaryloss.files.errors import UserError
from boundaryloss.scoring import evaluate
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.predict import predict
from boundaryloss.training.run import load_data, train

SLICES = Path(__file__).parents[2] / ".." / "shared" / "data" / "ms_flair_2d"
TINY = TrainConfig(
    loss="dicece+boundary", weighting="constant", weighting_options={"alpha": 0.01}, epochs=1, batch_size=4,
    patch=(16, 16, 8), patches_per_case=4, network="dynunet", features=(4, 8, 8), learning_rate=0.01,
    validation=0.25, accelerator="cpu",
)  # fmt: skip


REGIONS = {
    "labels": {"background": 0, "all": [1, 2], "b": [2], "ignore": 3},
    "regions_class_order": [1, 2],
}


def run(folder, out, **settings):
    config = dataclasses.replace(TINY, **settings)
    return train(load_data(str(folder), config), config, out)


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_train_predict_evaluate_volumes(tmp_path):
    folder = nnunet(tmp_path / "data", affine=TURNED)
    (summary,) = run(folder, tmp_path / "run", epochs=12, patch=(8, 16, 16), deep_supervision="all")
    assert summary.dice > 0.6 and summary.missed == 0
    assert float(read_rows(tmp_path / "run/metrics.csv")[-1]["validation_dice"]) > 0.5
    assert len(list((tmp_path / "run/pictures").glob("*.png"))) == 1

    assert predict(tmp_path / "run", folder / "imagesTr", tmp_path / "out") == 5
    for name in ("c0", "c4"):
        written, source = (
            nibabel.load(tmp_path / path) for path in (f"out/{name}.nii.gz", f"data/labelsTr/{name}.nii.gz")
        )
        assert written.shape == source.shape and written.get_data_dtype() == np.uint8
        np.testing.assert_allclose(written.affine, source.affine)
    evaluate(tmp_path / "out", folder, tmp_path / "scores")
    scored = {row["name"]: row for row in read_rows(tmp_path / "scores/cases.csv")}
    for row in read_rows(tmp_path / "run/cases.csv"):  # the run's own test is no other thing
        assert row == scored[row["name"]]


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({"network": "basicunet", "features": (4,) * 5, "patch": (32, 16, 16)}, {"shape": (35, 20, 17)}),
        ({"network": "basicunet", "features": (4,) * 5, "patch": None}, {"shape": (40, 33, 17)}),
        ({"map_from": "volume", "augment": ("flip", "rotate90")}, {}),
        ({"target_spacing": (2.0,) * 3, "patch": (16,) * 3, "augment": ("scale",)}, {"shape": (40, 40, 17)}),
        ({"dimensions": 2, "patch": (16, 16), "augment": ("rotate90",)}, {}),
        ({"dimensions": 2, "patch": None, "deep_supervision": "full"}, {}),
        ({"precision": "bf16-mixed", "accumulate": 2}, {}),
        ({"patch": (32, 16, 16), "map_from": "volume", "deep_supervision": "full"}, {}),  # larger than a case
        ({"num_workers": 1}, {}),
        ({}, {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}}),
        ({"deep_supervision": "full"}, REGIONS),
        ({"map_from": "volume", "loss": "gdl+boundary"}, REGIONS),
        ({"map_from": "volume", "target_spacing": (2.0, 1.0, 1.5)}, {}),
    ],
    ids=lambda value: ",".join(value) or "plain",
)  # fmt: skip
def test_train_every_way(tmp_path, settings, data):
    folder = nnunet(tmp_path / "data", **data)
    summary = run(folder, tmp_path / "run", **settings)
    assert [row.label for row in summary] == ([1, 2] if "labels" in data else [1])
    (row,) = read_rows(tmp_path / "run/metrics.csv")
    assert np.isfinite([float(row[name]) for name in ("loss", "region", "boundary", "validation_dice")]).all()
    assert predict(tmp_path / "run", folder / "imagesTr", tmp_path / "out") == 5


def test_train_decathlon(tmp_path):
    folder = decathlon(tmp_path / "data", modality="CT")
    assert len(run(folder, tmp_path / "run")) == 2
    assert predict(tmp_path / "run", folder / "imagesTr", tmp_path / "out") == 5


def test_predict_of_slices_follows_the_file(tmp_path):
    for index in range(4):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 4 + index : 12] = 1
        for kind, array in (("images", mask * 100), ("masks", mask)):
            save(tmp_path / f"data/{kind}/s{index}.nii.gz", array)
    run(tmp_path / "data", tmp_path / "run", patch=None, validation=0.0)
    predict(tmp_path / "run", tmp_path / "data", tmp_path / "out")
    written = nibabel.load(tmp_path / "out/s0.nii.gz")
    np.testing.assert_allclose(written.affine, nibabel.load(tmp_path / "data/images/s0.nii.gz").affine)


def test_evaluate_leaves_out_unlabelled_voxels(tmp_path):
    truth = np.zeros((8, 8, 8), np.uint8)
    truth[2:4], truth[5:] = 1, 2
    prediction = truth.copy()
    prediction[5:] = 1
    save(tmp_path / "data/labelsTr/a.nii.gz", truth)
    save(tmp_path / "data/imagesTr/a_0000.nii.gz", truth)
    save(tmp_path / "out/a.nii.gz", prediction)
    labels = {"background": 0, "lesion": 1, "ignore": 2}
    (tmp_path / "data/dataset.json").write_text(json.dumps({"channel_names": {"0": "MR"}, "labels": labels}))
    for where in ("data", "data/labelsTr"):
        (summary,) = evaluate(tmp_path / "out", tmp_path / where, tmp_path / "scores" / where)
        assert (summary.dice, summary.false_lesions_per_image) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"patch": (32, 16, 8), "loss": "gdl+official.BoundaryLoss"},
            r"patch \[32, 16, 8\] is larger than a case.* count what pads it.*smallest case is 24 x 20 x 12",
        ),
        ({"patch": (16, 16)}, "the network is 3-D; give 3 numbers"),
        ({"patch": (16, 16, 9)}, None),
        ({"patch": (16, 16, 8), "network": "basicunet", "features": (4,) * 5}, "multiples of 16"),
        ({"patch": (5, 5, 5)}, "dynunet halves it at least twice"),
        ({"dimensions": 2, "map_from": "volume", "patch": (16, 16)}, "measures in 3-D"),
    ],
)
def test_train_refuses_settings_that_do_not_fit(tmp_path, settings, words):
    folder = nnunet(tmp_path / "data")
    if words is None:
        run(folder, tmp_path / "run", **settings)
        return
    with pytest.raises(UserError, match=words):
        run(folder, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_predict_names_or_skips_images_that_do_not_fit(tmp_path):
    folder = nnunet(tmp_path / "data")
    run(folder, tmp_path / "run")
    save(folder / "imagesTr/c1_0001.nii.gz", np.ones((24, 20, 12), np.int16))
    (folder / "imagesTr/c2_0000.nii.gz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"c1_0000\.nii\.gz has 2 channel\(s\)"):
        predict(tmp_path / "run", folder / "imagesTr", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    problems = []
    assert predict(tmp_path / "run", folder / "imagesTr", tmp_path / "out", on_bad=problems.append) == 3
    assert len(problems) == 2 and "c2_0000" in problems[1]


@pytest.mark.slow
def test_train_predict_evaluate_real_volumes(tmp_path):
    if not SLICES.is_dir():
        pytest.skip("the shared data is not here")
    folder = stacked(SLICES, tmp_path / "data")
    (summary,) = run(
        folder, tmp_path / "run", fold=2, epochs=8, batch_size=2, patch=(64, 64, 32), patches_per_case=8,
        features=(8, 16, 32, 64), deep_supervision="full", map_from="volume", augment=("flip", "intensity"),
        validation=0.0, learning_rate=2e-3, weighting="increase", weighting_options={}, foreground=0.6,
    )  # fmt: skip
    assert summary.cases == 1 and summary.dice > 0.1
    predict(tmp_path / "run", folder / "imagesTr", tmp_path / "out")
    evaluate(tmp_path / "out", folder, tmp_path / "scores")
    rows = {row["name"]: row for row in read_rows(tmp_path / "scores/cases.csv")}
    assert set(rows) == {"p07", "p19", "p26"}
    assert rows["p26"] == read_rows(tmp_path / "run/cases.csv")[0]
    assert nibabel.load(tmp_path / "out/p26.nii.gz").header.get_zooms() == (1, 1, 2)


def test_checkpoints_hold_tensors_and_plain_values(tmp_path):
    run(nnunet(tmp_path / "data"), tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").iterdir():
        assert torch.load(path, weights_only=True)["epoch"] == 0
