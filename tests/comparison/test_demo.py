from dataclasses import replace

import numpy as np
import pytest
from comparisons import found_in
from PIL import Image

from boundaryloss.comparison.beginnings import find_beginnings
from boundaryloss.comparison.demo import CONFIG, demo_experiment, run_demo
from boundaryloss.report.comparison import conclusions, write_comparison
from boundaryloss.report.figure import draw_figure
from boundaryloss.report.page import write_report
from boundaryloss.report.results import HD95, MEASURES, read_results
from boundaryloss.training.run import RunData

TINY = replace(CONFIG, epochs=2, weighting_options={"ramp": 1}, features=(4, 4, 4, 4, 4))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out, calls = tmp_path_factory.mktemp("demo") / "demo", []
    small = RunData.from_phantom(sizes=(8, 12), size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunData, "from_phantom", lambda patch: small)
        run_demo(out, demo_experiment(range(2), TINY), progress=lambda *call: calls.append(call))
    return out, calls


def test_run_demo_reports_every_step(demo):
    _, calls = demo
    total = 2 * (2 + 3 * (2 + 12))  # of each seed: one epoch for all, then another and 12 slices to test
    assert [call[:2] for call in calls] == [(done, total) for done in range(1, total + 1)]


def test_run_demo_slices_have_a_map_that_is_negative_just_inside(demo):
    out, _ = demo
    with np.load(out / "slices.npz", allow_pickle=False) as arrays:
        assert ((arrays["signed_distance"] < 0) == (arrays["truth"] == 1)).all()
        predictions = arrays["predictions"]
        assert predictions.shape == (4, 3, 64, 64)
        differ = (predictions[:, 0] != predictions[:, -1]).sum((1, 2)).tolist()
        assert differ == sorted(differ, reverse=True) and differ[-1] > 0


def test_draw_figure_writes_a_picture(demo):
    out, _ = demo
    with Image.open(draw_figure(out)) as picture:
        assert picture.width > 1000 and np.ptp(np.array(picture.convert("L"))) > 200


def test_write_report_takes_the_demonstration(demo):
    out, _ = demo
    assert "The phantom" in write_report(*found_in(out)).read_text()


def test_write_comparison_prints_and_keeps_the_table(demo):
    out, _ = demo
    write_comparison(*found_in(out))
    text = (out / "report.txt").read_text()
    for words in ("GDL + boundary", "±", "difference", "may not conclude", "6 runs of 2 epochs"):
        assert words in text
    for measure in (*MEASURES, HD95):
        assert measure.title in text


def test_conclusions_say_what_was_counted(comparison):
    text = conclusions(read_results(comparison))
    assert "8 runs of 2 epochs" in text and "over seeds and patients" in text


def test_demo_settings_are_those_it_states():
    baseline, paper, log = demo_experiment(range(3)).methods
    assert (baseline.config.loss, paper.config.form, log.config.form) == ("gdl", "linear", "log")
    assert paper.baseline == log.baseline == "GDL"
    (beginning, *_) = beginnings = list(find_beginnings(demo_experiment(range(3))))
    assert len(beginnings) == 3 and len(beginning.runs) == 3
    assert 2 / 3 <= beginning.epochs / CONFIG.epochs < 1
