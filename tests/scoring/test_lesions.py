import numpy as np
import pytest

from boundaryloss.report.store import LesionScores, read_table, write_table
from boundaryloss.scoring import case_metrics, lesion_metrics, score_case


def line(*spans, length=20):
    """A row of voxels with objects from one index to another."""
    array = np.zeros((1, length), np.uint8)
    for start, stop in spans:
        array[0, start:stop] = 1
    return array


def rows(prediction, truth, **options):
    return lesion_metrics(prediction, truth, **{"spacing": 1.0, **options})


def test_lesion_metrics_of_a_found_a_missed_and_a_false_lesion():
    found, missed, false = rows(line((3, 6), (15, 17)), line((2, 6), (9, 10)), spacing=(2.0, 0.5), name="x")
    assert (found.name, found.label, found.lesion, found.outcome, found.voxel) == ("x", 1, 1, "found", "0 2")
    assert (found.dice, found.hd95_mm) == (2 * 3 / 7, 0.5)
    assert (found.truth_voxels, found.truth_mm2, found.truth_mm3) == (4, 4.0, None)
    assert (found.prediction_voxels, found.prediction_mm2, found.components) == (3, 3.0, 1)
    assert (missed.lesion, missed.outcome, missed.voxel, missed.dice) == (2, "missed", "0 9", 0.0)
    assert (missed.truth_voxels, missed.prediction_voxels, missed.components) == (1, 0, 0)
    assert (false.lesion, false.outcome, false.voxel, false.dice) == (3, "false", "0 15", 0.0)
    assert (false.truth_voxels, false.prediction_voxels, false.prediction_mm2) == (0, 2, 2.0)
    assert np.isnan(missed.hd95_mm) and np.isnan(false.hd95_mm)


def test_lesion_metrics_one_component_over_two_lesions_is_compared_with_both():
    first, second = rows(line((2, 10)), line((2, 5), (8, 10)))
    assert first.outcome == second.outcome == "found" and first.other_lesions == second.other_lesions == 1
    assert (first.dice, second.dice) == (2 * 3 / (8 + 3), 2 * 2 / (8 + 2))
    assert (first.hd95_mm, second.hd95_mm) == (5.0, 6.0)


def test_lesion_metrics_two_components_on_one_lesion_are_one_prediction():
    (lesion,) = rows(line((2, 4), (5, 7)), line((2, 8)))
    assert (lesion.components, lesion.other_lesions, lesion.prediction_voxels) == (2, 0, 4)
    assert lesion.dice == 2 * 4 / (4 + 6)


def test_lesion_metrics_agree_with_case_metrics_on_random_masks():
    rng = np.random.default_rng(0)
    for shape, spacing in (((30, 31), (0.7, 2.0)), ((9, 14, 11), (3.0, 1.0, 0.5))):
        p, t = (rng.integers(0, 3, shape) * (rng.random(shape) > 0.8) for _ in range(2))
        cases, lesions = score_case(p, t, spacing=spacing, name="x", contour="centers")
        assert cases == case_metrics(p, t, spacing=spacing, name="x", contour="centers")
        assert repr(lesions) == repr(lesion_metrics(p, t, spacing=spacing, name="x", contour="centers"))
        for case in cases:
            mine = [row for row in lesions if row.label == case.label]
            count = {kind: sum(row.outcome == kind for row in mine) for kind in ("found", "missed", "false")}
            assert (count["found"], count["false"]) == (case.lesions_found, case.false_lesions)
            assert count["found"] + count["missed"] == case.lesions and min(count.values()) > 0
            assert [row.lesion for row in mine] == list(range(1, len(mine) + 1))
            assert sum(row.truth_voxels for row in mine) == (t == case.label).sum()
            for row in mine:
                there = tuple(map(int, row.voxel.split()))
                assert (p if row.outcome == "false" else t)[there] == case.label


def test_lesion_metrics_of_a_single_lesion_are_those_of_the_case():
    truth, prediction = np.zeros((2, 12, 9, 8), np.uint8)
    truth[3:8, 2:6, 2:5] = prediction[4:9, 2:7, 2:5] = 1
    options = {"spacing": (3.0, 1.0, 0.5), "contour": "surfels"}
    (case,), (lesion,) = score_case(prediction, truth, **options)
    assert (lesion.dice, lesion.hd95_mm, lesion.contour) == (case.dice, case.hd95_mm, case.contour)
    assert (lesion.truth_mm3, lesion.prediction_mm3) == (case.truth_mm3, case.prediction_mm3)
    assert lesion.voxel == "3 2 2"


def test_lesion_metrics_judge_regions_and_leave_out_what_nobody_labelled():
    truth, prediction = line((1, 3)) + 2 * line((3, 5)) + 9 * line((8, 10)), line((2, 5), (9, 12))
    (whole,) = rows(prediction, truth, objects={1: (1, 2)}, ignore=9)[:1]
    assert (whole.truth_voxels, whole.prediction_voxels) == (4, 3)
    false = rows(prediction, truth, objects={1: (1, 2)}, ignore=9)[-1]
    assert (false.outcome, false.voxel, false.prediction_voxels) == ("false", "0 10", 2)


def test_lesion_metrics_of_nothing_are_no_rows_and_a_table_with_columns(tmp_path):
    assert rows(0 * line(), line(), objects={1: (1,)}) == []
    write_table(tmp_path / "lesions.csv", [], LesionScores)
    assert (tmp_path / "lesions.csv").read_text().startswith("name,label,lesion,outcome,voxel,truth_voxels,")
    assert read_table(tmp_path / "lesions.csv", LesionScores) == []
    written = rows(line((3, 6)), line((2, 6)), name="a")
    write_table(tmp_path / "lesions.csv", written, LesionScores)
    assert read_table(tmp_path / "lesions.csv", LesionScores) == written


@pytest.mark.parametrize(
    ("options", "words"), [({"contour": "edge"}, "contour must be"), ({"spacing": 0}, "give 2 positive")]
)
def test_lesion_metrics_refuse_what_case_metrics_refuse(options, words):
    with pytest.raises(ValueError, match=words):
        rows(line(), line(), **options)
