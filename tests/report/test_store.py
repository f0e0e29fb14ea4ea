import json
import re
from dataclasses import replace

import pytest
from comparisons import write_made

from boundaryloss.files import UserError
from boundaryloss.report.store import (
    CASES,
    COMPARISON,
    HISTORY,
    RUN,
    CaseScores,
    ComparisonRecord,
    Epoch,
    RunRecord,
    read_record,
    read_table,
    write_record,
    write_table,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_made(tmp_path_factory.mktemp("store") / "out", seeds=(0,), cases=2)


@pytest.fixture
def run(made):
    return made / "runs/m0-fold0-seed0"


def test_tables_and_records_read_back_as_they_were_written(made, run, tmp_path):
    rows, history = read_table(run / CASES, CaseScores), read_table(run / HISTORY, Epoch)
    assert [row.name for row in rows] == ["case0", "case1"] and history[0].seconds is None
    solid = [replace(r, truth_mm2=None, prediction_mm2=None, truth_mm3=1.5, prediction_mm3=2.5) for r in rows]
    for table in (rows, solid, history):
        write_table(tmp_path / "table.csv", table)
        assert read_table(tmp_path / "table.csv", type(table[0])) == table
    for path, kind in ((made / COMPARISON, ComparisonRecord), (run / RUN, RunRecord)):
        record = read_record(path, kind)
        write_record(tmp_path / "record.json", record)
        assert read_record(tmp_path / "record.json", kind) == record


def test_write_table_has_the_sizes_in_the_unit_of_the_case(run):
    head = (run / CASES).read_text().splitlines()[0]
    assert "truth_mm2,prediction_mm2,hd95_pooled_mm" in head and "mm3" not in head


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dice", "dise", "no 'dice'; an older version may have written it"),
        ("case0,1", "case0,x", "'label': invalid literal"),
        (",4\n", "\n", "'predicted_lesions': the row ends before it"),
    ],
)
def test_read_table_names_the_file_and_the_column(run, tmp_path, old, new, words):
    path = tmp_path / CASES
    path.write_text((run / CASES).read_text().replace(old, new))
    with pytest.raises(UserError, match=re.escape(f"{path}: missing or damaged ({words}")):
        read_table(path, CaseScores)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": "0"}, "'seeds': '0' is not of the type list"),
        ({"labels": [1, "2"]}, "'labels': '2' is not of the type int"),
        ({"methods": [{"name": "GDL"}]}, "'methods': no 'loss'"),
        ({"thresholds": None}, "'thresholds': None"),
    ],
)
def test_read_record_names_the_file_and_the_key(made, tmp_path, change, words):
    path = tmp_path / COMPARISON
    path.write_text(json.dumps({**json.loads((made / COMPARISON).read_text()), **change}))
    with pytest.raises(UserError, match=re.escape(f"{path}: missing or damaged ({words}")):
        read_record(path, ComparisonRecord)
