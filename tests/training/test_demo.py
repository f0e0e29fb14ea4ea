import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from boundaryloss.report.comparison import METRICS, Line, conclusions, read_lines, write_comparison
from boundaryloss.report.figure import draw_figure
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.demo import CONFIG, run_demo
from boundaryloss.training.run import RunData

TINY = TrainConfig(epochs=1, features=(4, 4, 4, 4, 4), validation=0.0, accelerator="cpu")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out, calls = tmp_path_factory.mktemp("demo") / "demo", []
    run_demo(
        out, 2, config=TINY, data=RunData.from_phantom((8, 12), 64), progress=lambda *call: calls.append(call)
    )
    return out, calls


def test_run_demo_reports_every_step(demo):
    _, calls = demo
    assert [done for done, _, _ in calls] == [1, 2, 3, 4] and {total for _, total, _ in calls} == {4}


def test_run_demo_trains_each_loss_with_each_seed(demo):
    out, _ = demo
    names = sorted(path.name for path in (out / "runs").iterdir())
    assert names == ["gdl+boundary-seed0", "gdl+boundary-seed1", "gdl-seed0", "gdl-seed1"]


def test_run_demo_slices_have_a_map_that_is_negative_just_inside(demo):
    out, _ = demo
    with np.load(out / "slices.npz", allow_pickle=False) as arrays:
        assert ((arrays["signed_distance"] < 0) == (arrays["truth"] == 1)).all()
        assert (arrays["truth"] == 1).any(axis=(1, 2)).all()


def test_draw_figure_writes_a_picture(demo):
    out, _ = demo
    with Image.open(draw_figure(out)) as picture:
        assert picture.width > 1000 and np.ptp(np.array(picture.convert("L"))) > 200


def test_write_comparison_prints_and_keeps_the_table(demo):
    out, _ = demo
    console = Console(width=120, record=True, quiet=True)
    write_comparison(out, console)
    text = (out / "report.txt").read_text()
    for words in (
        "Dice",
        "±",
        "missed cases",
        "false lesions per image",
        "may not conclude",
        "difference",
    ):
        assert words in text
    assert len((out / "comparison.csv").read_text().splitlines()) == 1 + 2 * len(METRICS)


def test_read_lines_pairs_the_seeds(demo):
    out, _ = demo
    facts, lines, summaries = read_lines(out)
    assert facts["seeds"] == [0, 1] and len(summaries) == 4
    assert all(len(line.first) == len(line.second) == 2 for line in lines)
    assert "4 short runs" in conclusions(facts, summaries)


@pytest.mark.parametrize(
    ("first", "second", "beyond"),
    [
        ((0.5, 0.5, 0.5), (0.6, 0.62, 0.61), True),
        ((0.6, 0.6, 0.6), (0.5, 0.52, 0.5), True),
        ((0.5, 0.6, 0.7), (0.6, 0.5, 0.8), False),
        ((0.5,), (0.6,), False),
        ((0.5, float("nan")), (0.6, 0.6), False),
    ],
)
def test_line_within_the_spread_is_no_difference(first, second, beyond):
    assert Line(METRICS[0], first, second).beyond_spread is beyond


def test_demo_settings_are_those_it_states():
    schedule = CONFIG.make_schedule()
    assert [schedule(epoch)[1] for epoch in range(3)] == pytest.approx([0.0, 0.01, 0.02])
