"""Who may import whom, and what `import boundaryloss` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import boundaryloss

ROOT = Path(__file__).parent.parent / "src" / "boundaryloss"

MAY_IMPORT = {
    "distance": {"distance"},
    "losses": {"losses", "distance", "schedules"},
    "schedules": {"schedules"},
    "training": {"training", "distance", "losses", "schedules", ""},
    "report": {"report"},
    "integrations": {"integrations"},
    "cli": {"training", "report", "cli"},
}
FRAMEWORKS = {
    "distance": {"torch"},
    "losses": {"torch"},
    "schedules": set(),
    "report": {"jinja2", "matplotlib", "numpy", "rich", "scipy"},
}
INTEGRATIONS = {
    "lightning": {"lightning", "torch"},
    "monai": {"monai", "torch"},
    "nnunet": {"nnunetv2", "torch"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "boundaryloss":
                yield from (f"boundaryloss.{alias.name}" for alias in node.names)


def test_rooms_import_only_what_they_may():
    public = set(boundaryloss.__all__)
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in imports(path) if room in MAY_IMPORT else ():
            top, _, rest = name.partition(".")
            if top == "boundaryloss":
                used = "" if rest in public else rest.split(".")[0]
                assert used in MAY_IMPORT[room] | {""}, f"{path} imports {name}"
            elif room in FRAMEWORKS:
                allowed = FRAMEWORKS[room] | ({"triton"} if path.name == "cuda.py" else set())
                assert top in allowed | set(sys.stdlib_module_names), f"{path} imports {name}"


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_imports_the_public_names_and_its_framework(name):
    home, public = ROOT / "integrations", {f"boundaryloss.{public}" for public in boundaryloss.__all__}
    for path in (home / f"{name}.py", *(home / name).rglob("*.py")):
        for imported in imports(path) if path.exists() else ():
            own = imported.startswith(f"boundaryloss.integrations.{name}")
            if own or imported in public | {"boundaryloss"}:
                continue
            assert imported.partition(".")[0] in INTEGRATIONS[name] | set(sys.stdlib_module_names), (
                f"{path} imports {imported}"
            )


def test_import_loads_torch_and_nothing_heavier():
    code = (
        "import sys, torch; before = set(sys.modules); from boundaryloss import *;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"monai", "lightning", "scipy", "triton", "matplotlib", "nibabel", "rich"}
    assert "boundaryloss" in done.stdout.split() and not heavy & set(done.stdout.split())


def test_public_names_exist():
    for name in boundaryloss.__all__:
        assert getattr(boundaryloss, name).__doc__
        assert name in dir(boundaryloss)


def test_what_is_checked_first_imports_nothing_heavy():
    names = ("config", "experiment", "label_values", "layouts", "split")
    code = f"import sys; from boundaryloss.training import {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "monai", "lightning", "scipy", "nibabel", "matplotlib"}
    assert "boundaryloss.training.layouts" in done.stdout.split() and not heavy & set(done.stdout.split())
