"""Runs that are not as they were written are refused, and never read as if they were."""

import re
import shutil

import numpy as np
import pytest
from comparisons import THRESHOLDS, found_in, write_made

from boundaryloss.files import UserError
from boundaryloss.report.page import write_report
from boundaryloss.report.results import read_results

RUN = "runs/m1-fold0-seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_made(tmp_path_factory.mktemp("made") / "out", seeds=(0,), cases=3, labels=(1, 2))


@pytest.fixture
def out(made, tmp_path):
    return shutil.copytree(made, tmp_path / "out")


def change(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_read_results_puts_every_number_in_its_place(made):
    results = read_results(made)
    after = results.methods[1]
    assert after.points[2][:, :, 0, 0].tolist() == [[3, 3, 3], [3, 2, 1], [3, 2, 1]]
    assert results.thresholds.tolist() == list(THRESHOLDS)
    lesions = results.lesions[2]
    assert lesions.case.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert lesions.number.tolist() == 3 * [1, 2, 3] and lesions.size.tolist() == 3 * [1, 10, 100]
    assert after.lesions[2][0].tolist() == [3 * [0, 1, 1]]
    np.testing.assert_allclose(after.lesions[2][1], [3 * [0, 0.6, 0.6]])


def test_read_results_takes_lesions_in_any_order(out):
    expected = read_results(out).methods[1].lesions[1]
    head, *rows = (out / RUN / "lesions.csv").read_text().splitlines()
    (out / RUN / "lesions.csv").write_text("\n".join([head, *rows[::-1]]) + "\n")
    np.testing.assert_array_equal(read_results(out).methods[1].lesions[1], expected)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("cases.csv", "case1,2,", "case0,2,", "a row is there twice"),
        ("cases.csv", "case1,2,", "case1,3,", "the label 3 is not in comparison.json"),
        ("cases.csv", "case1,", "other,", "the case 'other' is not in comparison.json"),
        ("cases.csv", ",faces,", ",faces,1,", "a row has more cells than there are columns"),
        ("cases.csv", ",3,2,", ",3,4,", "'lesions_found': impossible in row 1"),
        ("cases.csv", ",3,2,", ",3,2,-1", "'false_lesions': impossible in row 1"),
        ("cases.csv", "case1,2,", "case1,2,1", "'dice': impossible in row 4"),
        ("cases.csv", ",3.0,3.0,0,", ",3.0,nan,0,", "'hd95_penalised_mm': impossible in row 1"),
        ("operating_points.csv", ",3,1,1,", ",3,-1,1,", "'lesions_found': impossible in row 3"),
        ("operating_points.csv", "case0,1,0.1,", "case0,1,0.5,", "a row is there twice"),
        (
            "operating_points.csv",
            "case0,1,0.1,",
            "case0,1,0.2,",
            "the threshold 0.2 is not in comparison.json",
        ),
        ("operating_points.csv", "case0,1,0.1,3,3,", "case0,1,0.1,3,99999999999,", ""),
        ("lesions.csv", "case1,2,1,", "case0,2,1,", "its true lesions are not those that cases.csv counts"),
        (
            "lesions.csv",
            "case1,2,3,found",
            "case1,2,3,false",
            "its true lesions are not those that cases.csv",
        ),
        ("lesions.csv", ",10.0,", ",11.0,", "its true lesions have other sizes than those of another run"),
        ("lesions.csv", ",100.0,", ",,", "a true lesion has no size"),
        ("lesions.csv", "missed", "mist", "'outcome': 'mist' is none of found, missed, false"),
    ],
)
def test_read_results_refuses_a_wrong_row(out, name, old, new, words):
    path = out / RUN / name
    change(path, old, new)
    with pytest.raises(UserError, match=re.escape(f"{path}: missing or damaged ({words}")):
        read_results(out)


@pytest.mark.parametrize("name", ["cases.csv", "operating_points.csv"])
def test_read_results_refuses_a_table_that_was_cut(out, name):
    path = out / RUN / name
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:-1]))
    with pytest.raises(UserError, match=f"{len(rows) - 2} rows in place of {len(rows) - 1}"):
        read_results(out)


@pytest.mark.parametrize("name", ["cases.csv", "operating_points.csv"])
def test_read_results_refuses_a_table_without_a_case(out, name):
    change(out / RUN / name, "case2,", "case1,", -1)
    with pytest.raises(UserError, match=re.escape(f"{name}: missing or damaged (2 of 3 cases)")):
        read_results(out)


def test_read_results_refuses_cases_that_no_run_tested(out):
    for table in ("cases.csv", "operating_points.csv", "lesions.csv"):
        path = out / RUN / table
        path.write_text("".join(r for r in path.read_text().splitlines(keepends=True) if "case1" not in r))
    change(out / RUN / "run.json", '"test_cases": 3', '"test_cases": 2')
    with pytest.raises(UserError, match=r"no run of GDL \+ boundary with seed 0 tested case1; run the"):
        read_results(out)


def test_read_results_refuses_a_run_without_a_plane(out):
    with np.load(out / RUN / "planes.npz") as arrays:
        np.savez(out / RUN / "planes.npz", **{name: a for name, a in arrays.items() if name != "case2"})
    with pytest.raises(UserError, match=r"planes.npz: missing or damaged \(no 'case2'\)"):
        read_results(out)


def test_write_report_refuses_pictures_that_do_not_fit(out):
    with np.load(out / RUN / "planes.npz") as arrays:
        np.savez(out / RUN / "planes.npz", **{name: array[:-1] for name, array in arrays.items()})
    with pytest.raises(UserError, match=r"the pictures of case\d do not fit together"):
        write_report(*found_in(out))


def test_write_report_without_every_table_of_lesions_says_so(out):
    (out / RUN / "lesions.csv").unlink()
    results, findings = found_in(out)
    page = write_report(results, findings).read_text(encoding="utf-8")
    assert results.lesions == {} and "By lesion size" not in page
    assert "No groups by lesion size: not every run has a lesions.csv." in page
    assert not (out / "tables/lesions.csv").exists() and (out / "tables/cases.csv").exists()
