"""What the documentation shows is what happens."""

import ast
import doctest
import importlib
import math
import re
from pathlib import Path

import pytest
import torch

from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.training.config import TrainConfig, read_config

ROOT = Path(__file__).parent.parent
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if SNIPPET.search(page.read_text()) and page.stem != "nnunet"  # which the test of the trainer runs
]


@pytest.mark.parametrize(
    "module",
    [
        "distance.signed",
        "losses.boundary",
        "losses.combined",
        "losses.log",
        "metrics.distances",
        "schedules",
        "scoring.cases",
        "scoring.lesions",
        "scoring.summary",
        "scoring.thresholds",
        "training.model.networks",
        "integrations.lightning",
        "integrations.monai.losses",
        "integrations.monai.metrics",
        "integrations.monai.transforms",
        "integrations.nnunet.loss",
        "integrations.torchmetrics",
    ],
)
def test_docstrings_are_true(module):
    failed, tried = doctest.testmod(importlib.import_module(f"boundaryloss.{module}"), report=True)
    assert tried
    assert not failed


NO_VERB = {"A", "All", "An", "How", "Its", "The", "What", "Where", "Whether", "Which", "Who"}


def test_docstrings_of_functions_begin_with_a_verb():
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (said := ast.get_docstring(node)):
                first = said.split()[0].rstrip(",:;")
                assert first.isalpha() and first.istitle() and first not in NO_VERB, f"{path}: {first}"


def test_settings_of_the_how_to_are_valid(tmp_path):
    for index, snippet in enumerate(
        re.findall(r"```toml\n(.*?)```", (ROOT / "docs/how-to/train.md").read_text(), re.DOTALL)
    ):
        (tmp_path / f"{index}.toml").write_text(snippet)
        assert read_config(tmp_path / f"{index}.toml") != TrainConfig()


def test_experiments_in_the_documentation_can_be_read(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/how-to/compare.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        whole = block if block.startswith("#") else f'data = "tiles"\nseeds = [0]\n{block}'
        (tmp_path / "experiment.toml").write_text(whole)
        assert len(read_experiment(tmp_path / "experiment.toml").methods) >= 2


def test_links_in_the_documentation_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:The '.*_dataloader' does not have many workers")
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": page}
    for snippet in SNIPPET.findall((ROOT / page).read_text()):
        exec(compile(snippet, page, "exec"), names)


def test_the_table_of_contour_distances_is_computed():
    page = (ROOT / "docs/concepts/which-hd95.md").read_text()
    names = {}
    exec(SNIPPET.findall(page)[0], names)
    value = r" ([\d.]+) \|"
    rows = re.findall(rf"^\| ([\w ]*?) ?\| ([\w ]+) \|{value * 3}$", page, re.MULTILINE)
    assert len(rows) == 4 * len(names["cases"])
    case = ""
    for name, metric, *shown in rows:
        case = name or case
        found = (names["found"][case, contour] for contour in ("faces", "centers", "surfels"))
        field = metric.lower().replace(" ", "_")
        assert shown == [f"{getattr(one, field).item():.2f}" for one in found], (case, metric)
    speck, rim = (names["found"]["speck", contour] for contour in ("faces", "centers"))
    faces = float(8 / speck.prediction_area), float(8 / (speck.prediction_area + speck.truth_area))
    for share in (*faces, float(4 / rim.prediction_area)):
        assert f"{100 * share:.2g} %" in page


def test_the_table_of_finer_voxels_is_computed():
    page = (ROOT / "docs/concepts/which-hd95.md").read_text()
    names = {}
    for snippet in SNIPPET.findall(page)[:2]:
        exec(snippet, names)
    rows = re.findall(r'^\| (balls|cubes) \| (\w+) \| `"(\w+)"` \|(.*) \|$', page, re.MULTILINE)
    assert len(rows) == 16
    for shape, number, contour, shown in rows:
        found = (names["finer"][shape, contour, size] for size in (16, 32, 64))
        assert shown.split(" |") == [_finer(one, shape, number) for one in found], (shape, number, contour)


def _finer(found, shape, number):
    if number == "area":
        true = 4 * math.pi * 0.35**2 if shape == "balls" else 6 * 0.7**2
        return f" {found.prediction_area.item() / true:.2f}"
    if number == "HD":
        return f" {found.hd.item() - 0.15 * (1 if shape == 'balls' else 3**0.5):.3f}"
    return f" {found.prediction_to_truth.item() - 0.15:.3f}"
