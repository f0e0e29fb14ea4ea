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


@pytest.mark.parametrize(
    "module",
    [
        "distance.signed",
        "losses.boundary",
        "losses.combined",
        "schedules",
        "training.networks",
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


def test_readme_snippets_run():
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert snippets
    torch.manual_seed(0)
    names = {}
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)
