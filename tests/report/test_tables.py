import csv

import pytest

from boundaryloss.report.findings import find_all
from boundaryloss.report.results import MEASURES, read_results
from boundaryloss.report.sizes import compare_by_size
from boundaryloss.report.tables import write_tables


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tables(comparison, tmp_path_factory):
    """The results of the comparison, and its tables by name."""
    results = read_results(comparison)
    write_tables(results, find_all(results), compare_by_size(results))
    return results, {path.stem: rows_of(path) for path in (comparison / "tables").iterdir()}


def test_write_tables_summary_has_every_number(comparison, tables):
    rows = rows_of(comparison / "summary.csv")
    assert len(rows) == 2 * (len(MEASURES) + 1) + 1
    dice = [row for row in rows if row["measure"] == "dice"]
    assert float(dice[1]["difference"]) == pytest.approx(float(dice[1]["mean"]) - float(dice[0]["mean"]))
    assert float(dice[0]["mean"]) == pytest.approx((float(dice[0]["seed0"]) + float(dice[0]["seed1"])) / 2)
    assert dice[0]["verdict"] == "" and dice[1]["baseline"] == "GDL"


def test_write_tables_agree_with_those_of_the_runs(comparison, tables):
    _, written = tables
    runs = {(row["method"], row["fold"], row["seed"]) for row in written["runs"]}
    assert len(runs) == len(written["runs"]) == 8
    name = written["cases"][0]["name"]
    by_seed = [
        row
        for seed in (0, 1)
        for fold in (0, 1)
        for row in rows_of(comparison / f"runs/gdl-fold{fold}-seed{seed}/cases.csv")
        if row["name"] == name
    ]
    first = written["cases"][0]
    assert len(written["cases"]) == 2 * 14 and len(by_seed) == 2 and first["method"] == "GDL"
    for column in ("dice", "hd95_penalised_mm", "false_lesions"):
        mean = sum(float(row[column]) for row in by_seed) / 2
        assert float(first[column]) == pytest.approx(mean), column


def test_write_tables_have_every_lesion_and_threshold(tables):
    results, written = tables
    lesions = results.lesions[3]
    assert len(written["lesions"]) == 2 * len(lesions.size)
    assert [
        float(row["truth_mm2"]) for row in written["lesions"][: len(lesions.size)]
    ] == lesions.size.tolist()
    assert len(written["operating_points"]) == 2 * len(results.thresholds) * 2
