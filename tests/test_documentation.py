"""What the documentation shows is what happens."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

from boundaryloss.training.config import read_config
from boundaryloss.training.experiment import read_experiment

ROOT = Path(__file__).parent.parent
HOW_TO = ["distance-transform", "lightning", "monai"]


@pytest.mark.parametrize(
    "module",
    [
        "distance.signed",
        "losses.boundary",
        "losses.combined",
        "schedules",
        "training.networks",
        "integrations.lightning",
        "integrations.monai.losses",
        "integrations.monai.transforms",
        "integrations.nnunet.loss",
    ],
)
def test_docstrings_are_true(module):
    failed, tried = doctest.testmod(importlib.import_module(f"boundaryloss.{module}"), report=True)
    assert tried
    assert not failed


def test_settings_of_the_how_to_are_valid(tmp_path):
    for index, snippet in enumerate(
        re.findall(r"```toml\n(.*?)```", (ROOT / "docs/how-to/train.md").read_text(), re.DOTALL)
    ):
        (tmp_path / f"{index}.toml").write_text(snippet)
        assert read_config(tmp_path / f"{index}.toml").network == "dynunet"


def test_experiments_in_the_documentation_can_be_read(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/how-to/compare.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "experiment.toml").write_text(block)
        assert len(read_experiment(tmp_path / "experiment.toml").methods) == 3


def test_links_in_the_documentation_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", ["README", *(f"docs/how-to/{name}" for name in HOW_TO)])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:The '.*_dataloader' does not have many workers")
def test_snippets_run(page, tmp_path, monkeypatch):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / f"{page}.md").read_text(), flags=re.DOTALL)
    assert snippets
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": page}
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), names)
