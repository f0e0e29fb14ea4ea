import csv
import json
import multiprocessing
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from datasets import nnunet, save
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.files.read import read_label_map
from boundaryloss.files.write import write_labels
from boundaryloss.report.store import LesionScores, read_table
from boundaryloss.scoring import evaluate, judge, pairs


@pytest.fixture
def folders(tmp_path):
    square = np.zeros((20, 20), int)
    square[4:8, 4:8] = 1
    shifted = np.roll(square, 1, axis=0)
    for folder, maps in (
        ("truth", (square, square, 0 * square)),
        ("predictions", (square, shifted, 0 * square)),
    ):
        (tmp_path / folder).mkdir()
        for name, classes in zip("abc", maps, strict=True):
            write_labels(tmp_path / folder / f"{name}.png", classes, (0, 255))
    return tmp_path


def run(path, **options):
    return evaluate(path / "predictions", path / "truth", path / "out", **options)


def test_evaluate_writes_cases_and_summary(folders):
    (summary,) = run(folders)
    assert (summary.label, summary.cases, summary.dice) == (255, 3, (1 + 0.75) / 2)
    assert (summary.dice_cases, summary.both_empty) == (2, 1)
    with (folders / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["hd95_mm"]) for row in rows] == [("a", "0.0"), ("b", "1.0"), ("c", "nan")]
    with (folders / "out" / "summary.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["255"]
    lesions = read_table(folders / "out/lesions.csv", LesionScores)
    assert [(row.name, row.lesion, row.outcome) for row in lesions] == [("a", 1, "found"), ("b", 1, "found")]
    assert [row.dice for row in lesions] == [1.0, 0.75]


def test_evaluate_with_a_threshold_judges_predictions_of_0_and_1(folders):
    for path in (folders / "predictions").iterdir():  # as `predict` writes them, against grey masks
        write_labels(path, read_label_map(path)[0] // 255, (0, 1))
    (summary,) = run(folders, threshold=127)
    assert (summary.dice, summary.missed) == ((1 + 0.75) / 2, 0)


def test_evaluate_with_a_threshold_takes_it_for_all_predictions_or_none(folders):
    write_labels(folders / "predictions" / "c.png", np.eye(20, dtype=int), (0, 1))  # nearly black
    (summary,) = run(folders, threshold=127)
    assert summary.both_empty == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore": 0}, "0 is background"),
        ({"ignore": -1}, "from 1 to 65535"),
        ({"ignore": 255, "labels": [255]}, "take it out of one"),
        ({"ignore": 255, "threshold": 127}, "leave one out"),
    ],
)
def test_evaluate_refuses_an_ignored_value_that_would_hide_errors(folders, options, message):
    with pytest.raises(UserError, match=message):
        run(folders, **options)
    assert not (folders / "out").exists()


def test_evaluate_uses_the_spacing(folders):
    (summary,) = run(folders, spacing=(3.0, 1.0))
    assert summary.hd95_mm == 1.5
    with pytest.raises(UserError, match="give 2 positive numbers"):
        run(folders, spacing=(1.0, 1.0, 1.0))


def test_evaluate_reads_volumes_with_their_spacing(tmp_path):
    truth = np.zeros((8, 8, 6), np.uint8)
    truth[2:4, 2:4, 1] = 1
    for folder, array in (("truth", truth), ("predictions", np.roll(truth, 2, axis=2))):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 2.5, 1])), tmp_path / folder / "v.nii.gz")
    (summary,) = run(tmp_path)
    assert summary.hd95_mm == 5.0


def test_evaluate_does_not_forget_a_case_without_prediction(folders):
    (folders / "predictions" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b\.png: no prediction .*1 of 3 cases"):
        run(folders)
    (summary,) = run(folders, allow_missing=True)
    assert summary.cases == 2


def test_evaluate_rejects_a_prediction_without_truth(folders):
    (folders / "truth" / "b.png").unlink()
    with pytest.raises(UserError, match=r"predictions/b\.png: no truth"):
        run(folders)


def test_evaluate_rejects_other_values_and_sizes(folders):
    for name in "abc":
        write_labels(folders / "predictions" / f"{name}.png", np.eye(20, dtype=int))
    with pytest.raises(UserError, match=r"values \[1\], the truth \[255\]"):
        run(folders)
    write_labels(folders / "predictions" / "a.png", np.eye(21, dtype=int), (0, 255))
    with pytest.raises(UserError, match=r"a\.png: shape \(21, 21\)"):
        run(folders)


def test_evaluate_counts_a_label_that_only_predictions_have(folders):
    prediction = np.zeros((20, 20), int)
    prediction[0, 0] = 1
    write_labels(folders / "predictions" / "c.png", prediction, (0, 7))
    first, second = run(folders)
    assert (first.label, first.false_alarms, first.false_lesions_per_image) == (7, 1, 1 / 3)
    assert second.label == 255


def test_evaluate_says_which_labels_no_prediction_has(folders):
    both = np.zeros((20, 20), int)
    both[4:8, 4:8], both[12:14] = 1, 2
    write_labels(folders / "truth/a.png", both, (0, 255, 3))
    notes = []
    run(folders, on_note=notes.append)
    assert "no prediction has the label 3; if the run was not to find it, judge with --labels" in notes


def test_evaluate_says_that_255_may_be_void(folders):
    for name in "abc":
        labels = np.zeros((20, 20), int)
        labels[4:8, 4:8], labels[12:14] = 1, 2
        write_labels(folders / f"truth/{name}.png", labels, (0, 1, 255))
        write_labels(folders / f"predictions/{name}.png", np.minimum(labels, 1), (0, 1))
    notes = []
    run(folders, on_note=notes.append)
    assert any("judge with --ignore 255" in note for note in notes)


def test_evaluate_takes_one_spacing_for_all_axes(folders):
    (half,) = run(folders, spacing=(0.5,))
    assert half.hd95_mm == 0.25  # the mean of 0 and half a voxel


def write(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        Image.fromarray(array.astype(np.uint8)).save(folder / f"{name}.png")


def row_of(path, name, label):
    with (path / "out/cases.csv").open() as file:
        return next(r for r in csv.DictReader(file) if (r["name"], r["label"]) == (name, str(label)))


def test_evaluate_reads_every_file_once(folders, monkeypatch):
    read = []

    def reading(path, threshold=None):
        read.append(path.name)
        return read_label_map(path, threshold)

    monkeypatch.setattr(pairs, "read_label_map", reading)
    run(folders)
    assert sorted(read) == ["a.png", "a.png", "b.png", "b.png", "c.png", "c.png"]


def test_evaluate_has_a_row_for_every_label_of_every_case(tmp_path):
    empty, one, two = np.zeros((9, 9)), np.zeros((9, 9)), np.zeros((9, 9))
    one[2, 2], two[4, 4] = 1, 2
    for folder in ("predictions", "truth"):
        write(tmp_path / folder, a=one, b=two, c=empty)
    first, second = run(tmp_path)
    assert [(row.cases, row.dice, row.both_empty) for row in (first, second)] == [(3, 1.0, 2)] * 2
    absent = row_of(tmp_path, "a", 2)
    assert absent["both_empty"] == "1" and absent["hd95_penalised_mm"] == absent["truth_mm2"] == "0.0"


def test_evaluate_refuses_grey_predictions(folders):
    grey = np.exp(-((np.mgrid[:20, :20] - 10) ** 2).sum(0) / 50) * 255
    write(folders / "predictions", c=grey)
    with pytest.raises(UserError, match=r"predictions: the values .* look like grey"):
        run(folders)
    assert not (folders / "out").exists()
    (summary,) = run(folders, threshold=127)
    assert summary.label == 1 and summary.false_alarms == 1


def test_evaluate_refuses_a_thousand_values(tmp_path):
    values = np.arange(1200).reshape(30, 40).astype(np.uint16)
    for folder in ("predictions", "truth"):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / "a.png")
    with pytest.raises(UserError, match="1199 different values"):
        run(tmp_path)


def test_evaluate_takes_many_labels_of_which_a_file_shows_a_few(tmp_path):
    few, many = np.zeros((8, 8)), np.arange(64).reshape(8, 8)
    few[0, :3], few[1, :3] = (5, 40, 255), 1
    many[7, 7] = 255  # {5, 40, 255} alone would look grey
    for folder in ("predictions", "truth"):
        write(tmp_path / folder, a=few, b=many)
    assert len(run(tmp_path)) == 63
    assert [row.label for row in run(tmp_path, labels=(40, 5))] == [5, 40]


def test_evaluate_leaves_out_what_nobody_labelled(folders):
    truth = np.zeros((20, 20))
    truth[4:8, 4:8], truth[10:] = 255, 7
    write(folders / "truth", a=truth, b=truth, c=np.full((20, 20), 7))
    (summary,) = run(folders, ignore=7)
    assert (summary.label, summary.dice, summary.both_empty) == (255, (1 + 0.75) / 2, 1)


def test_evaluate_refuses_a_value_that_no_region_has(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    data = nnunet(tmp_path / "data", 1, labels=labels, regions_class_order=[1, 2])
    prediction, _ = read_label_map(data / "labelsTr/c0.nii.gz")
    prediction[:2] = 7  # false voxels, which no region would count
    save(tmp_path / "predictions/c0.nii.gz", prediction)
    with pytest.raises(UserError, match=r"predictions/c0\.nii\.gz: label 7 is not in dataset\.json"):
        evaluate(tmp_path / "predictions", data, tmp_path / "out")


def test_evaluate_judges_regions_by_region(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    data = nnunet(tmp_path / "data", 1, labels=labels, regions_class_order=[1, 2])
    truth = np.zeros((9, 9, 4), np.uint8)
    truth[2:6, 2:6, 1], truth[3:5, 3:5, 1] = 1, 2
    save(data / "labelsTr/c0.nii.gz", truth)
    save(tmp_path / "predictions/c0.nii.gz", np.minimum(truth, 1))
    for where in (data, data / "labelsTr"):
        whole, core = evaluate(tmp_path / "predictions", where, tmp_path / f"out-{where.name}")
        assert (whole.label, whole.dice) == (1, 1.0)
        assert (core.label, core.missed, core.dice) == (2, 1, 0)
    with pytest.raises(UserError, match="has regions"):
        evaluate(tmp_path / "predictions", data, tmp_path / "out", labels=(1,))


def test_evaluate_says_what_was_trained_on_and_takes_the_split(folders):
    notes = []
    run(folders, on_note=notes.append)
    assert not notes
    (folders / "predictions/splits.json").write_text(json.dumps({"train": ["a", "c"], "test": ["b"]}))
    assert run(folders, on_note=notes.append)[0].cases == 3
    assert notes[0].startswith("2 of the 3 judged cases were trained on")
    assert run(folders, split="test")[0].dice == 0.75
    assert run(folders, split="train")[0].cases == 2
    (folders / "predictions/b.png").unlink()
    with pytest.raises(UserError, match=r"no prediction .*1 of 1 cases"):
        run(folders, split="test")


@pytest.mark.parametrize("content", ["{", "[]", '{"train": 3}', '{"test": ["x"]}', '{"train": ["a"]}', None])
def test_evaluate_refuses_a_split_that_it_cannot_use(folders, content):
    if content:
        (folders / "predictions/splits.json").write_text(content)
    with pytest.raises(UserError, match=r"splits\.json: "):
        run(folders, split="test")
    assert not (folders / "out").exists()


def test_evaluate_replaces_its_own_tables_and_nothing_else(folders):
    run(folders)
    first = (folders / "out/cases.csv").read_text()
    run(folders, spacing=(2.0, 2.0))
    assert (folders / "out/cases.csv").read_text() != first
    with pytest.raises(UserError, match="no evaluation of these two folders"):
        evaluate(folders / "truth", folders / "truth", folders / "out")
    for name in ("cases.csv", "notes.txt"):
        (folders / "mine").mkdir(exist_ok=True)
        (folders / "mine" / name).write_text("mine")
        with pytest.raises(UserError, match="give a new directory"):
            evaluate(folders / "predictions", folders / "truth", folders / "mine")
        assert (folders / "mine" / name).read_text() == "mine"
        (folders / "mine" / name).unlink()
    with pytest.raises(UserError, match="cannot make the directory"):
        evaluate(folders / "predictions", folders / "truth", folders / "truth/a.png/out")


def test_evaluate_never_mixes_contours_in_one_directory(folders):
    run(folders)
    before = (folders / "out/cases.csv").read_text()
    assert all(row["contour"] == "faces" for row in csv.DictReader(before.splitlines()))
    with pytest.raises(UserError, match="two folders with contour centers; give a new directory"):
        run(folders, contour="centers")
    assert (folders / "out/cases.csv").read_text() == before
    (summary,) = evaluate(folders / "predictions", folders / "truth", folders / "new", contour="centers")
    assert summary.contour == "centers"
    with pytest.raises(UserError, match="contour 'center': give faces, centers or surfels"):
        run(folders, contour="center")


def test_evaluate_refuses_slices_that_lie_elsewhere_and_mixed_kinds(tmp_path):
    square = np.zeros((8, 8, 1), np.uint8)
    square[2:4, 2:4] = 1
    save(tmp_path / "truth/a.nii.gz", square)
    save(tmp_path / "predictions/a.nii.gz", square[::-1].copy(), np.diag([-1.0, 1, 2, 1]))
    with pytest.raises(UserError, match="affine is not that of"):
        run(tmp_path)
    save(tmp_path / "predictions/a.nii.gz", square)
    for folder in ("truth", "predictions"):
        save(tmp_path / folder / "b.nii.gz", np.repeat(square, 3, axis=2))
    with pytest.raises(UserError, match="3-D, but others are 2-D"):
        run(tmp_path)
    bad = []
    assert run(tmp_path, on_bad=bad.append)[0].cases == 1 and len(bad) == 1


def test_evaluate_takes_the_spacing_of_whichever_file_has_one(tmp_path):
    truth = np.zeros((8, 8), np.uint8)
    truth[2:4, 2:4] = 1
    write(tmp_path / "truth", a=truth)
    save(tmp_path / "predictions/a.nii.gz", np.roll(truth, 2, axis=0)[..., None], np.diag([3.0, 1, 1, 1]))
    (summary,) = run(tmp_path)
    assert summary.hd95_mm == 6.0


def test_evaluate_with_a_wrong_folder_loads_nothing_heavy(tmp_path):
    code = (
        "import sys; from boundaryloss import cli\n"
        f"try: cli.main(['evaluate', '{tmp_path}/x', '{tmp_path}', '--out', '{tmp_path}/y'])\n"
        "except SystemExit as e: assert e.code == 2\n"
        "print(sorted({'torch', 'monai', 'lightning', 'scipy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n" and "x: no such folder" in done.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"tolerance": float("nan")}, "tolerance nan"),
        ({"threshold": float("inf")}, "threshold inf"),
        ({"labels": (0,)}, "labels"),
        ({"labels": (255, -1)}, "labels"),
        ({"labels": (255, 7)}, "no file has the label 7"),
    ],
)
def test_evaluate_refuses_settings_that_judge_nothing(folders, setting, words):
    with pytest.raises(UserError, match=words):
        run(folders, **setting)
    assert not (folders / "out").exists()


def test_evaluate_writes_the_same_tables_with_several_processes(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("truth", "predictions"):
        write(tmp_path / folder, **{name: rng.integers(0, 3, (9, 9)) for name in "abcd"})
    write(tmp_path / "truth", d=np.zeros((8, 9)))  # of another shape
    said = {}
    for jobs, out in ((1, "one"), (2, "two")):
        said[out] = bad, done = [], []
        options = {"jobs": jobs, "on_bad": bad.append, "progress": lambda *step, done=done: done.append(step)}
        evaluate(tmp_path / "predictions", tmp_path / "truth", tmp_path / out, **options)
    assert said["one"] == said["two"] and len(said["one"][0]) == 1
    tables = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "lesions.csv" in tables
    for name in tables:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with pytest.raises(UserError, match=r"d\.png: shape"):
        run(tmp_path, jobs=2)
    assert not (tmp_path / "out").exists() and not multiprocessing.active_children()


def test_evaluate_says_that_a_process_was_killed(folders, monkeypatch):
    monkeypatch.setattr(judge, "_start", os._exit)  # what a new process begins with
    with pytest.raises(UserError, match=r"a process was killed.*fewer --jobs"):
        run(folders, jobs=2)
    assert not (folders / "out").exists()


def test_evaluate_refuses_no_process(folders):
    with pytest.raises(UserError, match="jobs 0: give the number"):
        run(folders, jobs=0)


def two_cases(path, labels, **more):
    """A dataset with two volumes of 12 voxels, and predictions of them."""
    data = nnunet(path / "data", 2, labels=labels, **more)
    truths = ([1, 1, 2, 2, 0, 0, 3, 3, 0, 0, 0, 0], [0] * 12)
    predictions = ([1, 2, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0], [0] * 11 + [1])
    for where, volumes in ((data / "labelsTr", truths), (path / "predictions", predictions)):
        for index, values in enumerate(volumes):
            save(where / f"c{index}.nii.gz", np.array(values, np.uint8).reshape(3, 2, 2))
    return data


def test_evaluate_writes_the_summary_of_nnunet(tmp_path):
    data = two_cases(tmp_path, {"background": 0, "a": 1, "b": 2, "never": 4, "ignore": 3})
    evaluate(tmp_path / "predictions", data, tmp_path / "out")
    summary = json.loads((tmp_path / "out/summary.json").read_text(), parse_constant=pytest.fail)
    first, second = summary["metric_per_case"]
    assert first["reference_file"] == str(data / "labelsTr/c0.nii.gz")
    assert first["prediction_file"] == str(tmp_path / "predictions/c0.nii.gz")
    assert list(first["metrics"]) == ["1", "2", "4"]
    counts = {"TP": 1, "FP": 1, "FN": 1, "TN": 7, "n_pred": 2, "n_ref": 2}  # of 10 labelled voxels
    assert first["metrics"]["1"].items() >= {"Dice": 0.5, "IoU": 1 / 3, **counts}.items()
    assert second["metrics"]["2"].items() >= {"Dice": None, "TN": 12, "hd95_mm": None}.items()
    assert summary["mean"]["1"].items() >= {"Dice": 0.25, "TP": 0.5, "FP": 1, "TN": 9}.items()
    assert summary["mean"]["2"]["Dice"] == 0.5  # of the case that has the label
    assert summary["mean"]["4"]["Dice"] is None and summary["foreground_mean"]["Dice"] is None
    assert summary["foreground_mean"]["n_ref"] == (1 + 1 + 0) / 3
    assert first["metrics"]["1"]["hd95_mm"] == float(row_of(tmp_path, "c0", 1)["hd95_mm"])
    evaluate(tmp_path / "predictions", data, tmp_path / "out", labels=(2,))
    assert [*json.loads((tmp_path / "out/summary.json").read_text())["mean"]] == ["2"]


def test_evaluate_calls_regions_as_nnunet_does(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "edge": 3}
    data = two_cases(tmp_path, labels, regions_class_order=[1, 2, 3])
    evaluate(tmp_path / "predictions", data, tmp_path / "out")
    mean = json.loads((tmp_path / "out/summary.json").read_text())["mean"]
    assert {key: table["TP"] for key, table in mean.items()} == {"(1, 2)": 1.5, "(2,)": 0.5, "3": 0}


def test_evaluate_finds_the_dataset_json_of_nnunet(tmp_path):
    data = two_cases(tmp_path, {"background": 0, "a": 1, "b": 2, "ignore": 3})
    (data / "labelsTr").rename(data / "gt_segmentations")  # as in nnUNet_preprocessed
    model = tmp_path / "model"
    (model / "fold_0").mkdir(parents=True)
    (tmp_path / "predictions").rename(model / "fold_0/validation")
    (model / "fold_0/validation/c0.npz").write_bytes(b"")
    (model / "fold_0/validation/c0.pkl").write_bytes(b"")
    (model / "fold_0/validation/summary.json").write_text("{}")
    both = []
    for _ in range(2):
        evaluate(model / "fold_0/validation", data / "gt_segmentations", tmp_path / "out")
        both.append((tmp_path / "out/summary.json").read_text())
        if (data / "dataset.json").exists():
            (data / "dataset.json").rename(model / "dataset.json")
            (model / "plans.json").write_text("{}")
    assert both[0] == both[1] and not (data / "dataset.json").exists()


def test_evaluate_writes_no_summary_of_nnunet_without_its_labels(folders):
    run(folders)
    (folders / "out/summary.json").touch()  # of an earlier evaluation
    run(folders)
    assert sorted(path.suffix for path in (folders / "out").iterdir()) == [".csv", ".csv", ".csv", ".json"]
