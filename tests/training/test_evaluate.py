import csv

import nibabel
import numpy as np
import pytest

from boundaryloss.training.errors import UserError
from boundaryloss.training.evaluate import evaluate
from boundaryloss.training.files import write_labels


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
    assert (summary["label"], summary["cases"], summary["dice"]) == (255, 3, (1 + 0.75) / 2)
    assert (summary["dice_cases"], summary["both_empty"]) == (2, 1)
    with (folders / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["hd95_mm"]) for row in rows] == [("a", "0.0"), ("b", "1.0"), ("c", "nan")]
    with (folders / "out" / "summary.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["255"]


def test_evaluate_uses_the_spacing(folders):
    (summary,) = run(folders, spacing=(3.0, 1.0))
    assert summary["hd95_mm"] == 1.5
    with pytest.raises(UserError, match="give 2 positive numbers"):
        run(folders, spacing=(1.0, 1.0, 1.0))


def test_evaluate_reads_volumes_with_their_spacing(tmp_path):
    truth = np.zeros((8, 8, 6), np.uint8)
    truth[2:4, 2:4, 1] = 1
    for folder, array in (("truth", truth), ("predictions", np.roll(truth, 2, axis=2))):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 2.5, 1])), tmp_path / folder / "v.nii.gz")
    (summary,) = run(tmp_path)
    assert summary["hd95_mm"] == 5.0


def test_evaluate_does_not_forget_a_case_without_prediction(folders):
    (folders / "predictions" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b\.png: no prediction .*1 of 3 cases"):
        run(folders)
    (summary,) = run(folders, allow_missing=True)
    assert summary["cases"] == 2


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
    assert (first["label"], first["false_alarms"], first["false_lesions_per_image"]) == (7, 1, 1 / 3)
    assert second["label"] == 255
