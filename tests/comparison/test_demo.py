import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from boundaryloss.comparison.demo import CONFIG, demo_experiment, run_demo
from boundaryloss.report.comparison import conclusions, write_comparison
from boundaryloss.report.figure import draw_figure
from boundaryloss.report.page import write_report
from boundaryloss.report.results import HD95, MEASURES, read_results
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.run import RunData

TINY = TrainConfig(epochs=1, features=(4, 4, 4, 4, 4), validation=0.0, accelerator="cpu")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out, calls = tmp_path_factory.mktemp("demo") / "demo", []
    small = RunData.from_phantom(sizes=(8, 12), size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunData, "from_phantom", lambda patch: small)
        run_demo(out, demo_experiment(2, TINY), progress=lambda *call: calls.append(call))
    return out, calls


def test_run_demo_reports_every_step(demo):
    _, calls = demo
    total = 4 * (1 + 12)  # runs of one step of training and 12 slices to test
    assert [call[:2] for call in calls] == [(done, total) for done in range(1, total + 1)]


def test_run_demo_slices_have_a_map_that_is_negative_just_inside(demo):
    out, _ = demo
    with np.load(out / "slices.npz", allow_pickle=False) as arrays:
        assert ((arrays["signed_distance"] < 0) == (arrays["truth"] == 1)).all()
        assert (arrays["truth"] == 1).any(axis=(1, 2)).all()
        assert arrays["predictions"].shape == (4, 2, 64, 64)


def test_draw_figure_writes_a_picture(demo):
    out, _ = demo
    with Image.open(draw_figure(out)) as picture:
        assert picture.width > 1000 and np.ptp(np.array(picture.convert("L"))) > 200


def test_write_report_takes_the_demonstration(demo):
    out, _ = demo
    assert "The phantom" in write_report(out).read_text()


def test_write_comparison_prints_and_keeps_the_table(demo):
    out, _ = demo
    console = Console(width=120, record=True, quiet=True)
    write_comparison(out, console)
    text = (out / "report.txt").read_text()
    for words in ("GDL + boundary", "±", "difference", "may not conclude", "4 runs of 1 epochs"):
        assert words in text
    for measure in (*MEASURES, HD95):
        assert measure.title in text


def test_conclusions_say_what_was_counted(comparison):
    text = conclusions(read_results(comparison))
    assert "8 runs of 2 epochs" in text and "over seeds and patients" in text


def test_demo_settings_are_those_it_states():
    schedule = CONFIG.make_weighting()
    assert [schedule(epoch)[1] for epoch in range(3)] == pytest.approx([0.0, 0.01, 0.02])
    first, second = demo_experiment(3).methods
    assert (first.config.loss, second.config.loss, second.baseline) == ("gdl", "gdl+boundary", "GDL")
    assert demo_experiment(3).seeds == (0, 1, 2)
