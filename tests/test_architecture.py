"""Who may import whom, and what `import boundaryloss` costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import boundaryloss

ROOT = Path(__file__).parent.parent / "src" / "boundaryloss"

MAY_IMPORT = {  # besides itself; downward in this list
    "extras": set(),
    "signals": set(),
    "distance": set(),
    "schedules": set(),
    "losses": {"distance", "schedules"},
    "metrics": {"distance"},
    "integrations": {"public", "extras"},
    "files": {"extras"},
    "report.store": {"files"},
    "report.statistics": set(),
    "scoring": {"extras", "signals", "distance", "files", "metrics", "report.statistics", "report.store"},
    "training.settings": {"files", "schedules"},
    "training.data": {"files", "distance", "signals", "training.settings"},
    "training.model": {"files", "distance", "losses", "scoring", "training.settings", "training.data"},
    "training": {
        "extras",
        "files",
        "scoring",
        "report.store",
        "training.settings",
        "training.data",
        "training.model",
    },
    "report": {"extras", "files", "report.statistics", "report.store"},
    "comparison": {
        "schedules",
        "extras",
        "files",
        "distance",
        "scoring",
        "report.store",
        "signals",
        "training",
        "training.settings",
        "training.data",
    },
    "commands.actions": {"extras", "files", "distance", "losses", "training"},
    "commands": {
        "extras",
        "files",
        "scoring",
        "training",
        "training.settings",
        "report",
        "comparison",
        "commands.actions",
    },
    "cli": {"extras", "signals", "files", "training.settings", "commands", "__main__"},
    "__main__": {"cli", "extras"},
}
SETTINGS = (
    "config",
    "rules",
    "task",
    "processes",
    "checkpoints",
)  # what every part of a run needs
DOORS = ("files", "scoring")  # whose modules others import through `__init__` only
FRAMEWORKS = {
    "distance": {"torch"},
    "losses": {"torch"},
    "metrics": {"torch"},
    "schedules": set(),
    "extras": set(),
    "signals": set(),
    "files": {"filelock", "imagecodecs", "nibabel", "numpy", "PIL", "tifffile", "tomli"},
    "report.store": set(),
    "report.statistics": {"numpy", "scipy"},
    "training": {
        "lightning",
        "monai",
        "nibabel",
        "numpy",
        "PIL",
        "pydantic",
        "scipy",
        "tensorboard",
        "tomli_w",
        "torch",
    },
    "comparison": {"distributed", "numpy", "torch"},
    "commands": {"click", "rich"},
    "commands.actions": {"matplotlib", "monai", "nibabel", "numpy", "onnx", "scipy", "tifffile", "torch"},
    "scoring": {"numpy", "scipy", "torch"},
    "report": {"jinja2", "matplotlib", "numpy", "rich", "scipy"},
}
INTEGRATIONS = {
    "lightning": {"lightning", "torch"},
    "monai": {"monai", "torch"},
    "nnunet": {"nnunetv2", "torch"},
    "torchmetrics": {"torch", "torchmetrics"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "boundaryloss":
                yield from (f"boundaryloss.{alias.name}" for alias in node.names)


def room_of(module):
    """The room of a module such as `training.data.cases`; modules at the top are rooms of their own."""
    first, *rest = module.split(".")
    if module in ("report.store", "report.statistics"):
        return module
    if module.startswith("commands.actions"):
        return "commands.actions"
    if first != "training" or not rest:
        return first
    if rest[0] in SETTINGS:
        return "training.settings"
    return f"training.{rest[0]}" if (ROOT / "training" / rest[0]).is_dir() else "training"


def test_rooms_import_only_what_they_may():
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module in ("__init__", "integrations.nnunet.extension.nnunet_boundary_trainers"):
            continue
        room = room_of(module.removesuffix(".__init__"))
        assert room in MAY_IMPORT, f"{path}: {room} is a room that this test does not know"
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top == "boundaryloss":
                own_room = rest in MAY_IMPORT and room != "integrations"  # a room may be public too
                public = not rest or (rest in boundaryloss.__all__ and not own_room)
                used = "public" if public else room_of(rest)
                assert used in MAY_IMPORT[room] | {room}, f"{path} imports {name}"
                through_the_door = used not in DOORS or used in (room, rest)
                assert through_the_door, f"{path} imports {name}: import it from boundaryloss.{used}"
            elif (home := room if room in FRAMEWORKS else room.partition(".")[0]) in FRAMEWORKS:
                allowed = FRAMEWORKS[home] | ({"triton"} if path.name.startswith("cuda") else set())
                assert top in allowed | set(sys.stdlib_module_names), f"{path} imports {name}"


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_imports_the_public_names_and_its_framework(name):
    home, public = ROOT / "integrations", {f"boundaryloss.{public}" for public in boundaryloss.__all__}
    for path in (home / f"{name}.py", *(home / name).rglob("*.py")):
        for imported in imports(path) if path.exists() else ():
            own = imported.startswith((f"boundaryloss.integrations.{name}", "boundaryloss.extras"))
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


def test_doors_ask_for_all_that_their_rooms_import():
    for room in ("files", "scoring", "report", "training", "comparison", "commands", "commands.actions"):
        asked = set(
            re.findall(r'"(\w+)"', " ".join(re.findall(r"require\((.*?)\)", door_of(room), re.DOTALL)))
        )
        assert asked - {"train"} == FRAMEWORKS[room] - {"distributed", "torch"}, room  # asked for where used


def door_of(room):
    if room == "commands":
        return (ROOT / "cli.py").read_text() + (ROOT / "commands/common.py").read_text()
    modules = "*.py" if room == "commands.actions" else "__init__.py"  # `info` needs less than the others
    return "".join(path.read_text() for path in ROOT.joinpath(*room.split(".")).glob(modules))


def test_public_names_exist():
    for name in boundaryloss.__all__:
        assert getattr(boundaryloss, name).__doc__
        assert name in dir(boundaryloss)


def test_what_is_checked_first_imports_nothing_heavy():
    names = ("files", "training.config", "training.data.split", "comparison.experiment", "scoring")
    imported = ", ".join(f"boundaryloss.{name}" for name in names)
    code = f"import sys, {imported}; boundaryloss.scoring.evaluate; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "monai", "lightning", "scipy", "nibabel", "matplotlib"}
    assert "boundaryloss.files.layouts" in done.stdout.split() and not heavy & set(done.stdout.split())
