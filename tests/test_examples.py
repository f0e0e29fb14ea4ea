"""The examples run, and what they train finds most of the lesions."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NEEDS = {
    "plain_loop": "monai",
    "monai_loop": "monai",
    "lightning_loop": "lightning",
    "accelerate_loop": "accelerate",
    "smp_loop": "segmentation_models_pytorch",
}


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:The '.*_dataloader' does not have many workers")
def test_example_learns(name, monkeypatch, capsys):
    pytest.importorskip(NEEDS[name])
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(last.removeprefix("Dice ")) > 0.6


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*_loop.py")} == set(NEEDS)


def test_hausdorff_example_agrees_with_monai():
    difference, _ = runpy.run_path(str(EXAMPLES / "hausdorff.py"))["compare"](24)
    assert difference < 1e-5


def test_every_lesion_example_shares_the_pull_equally():
    shares = runpy.run_path(str(EXAMPLES / "every_lesion.py"))["main"]()
    assert shares == pytest.approx([1 / 3] * 3)
