"""Without an extra every way in says in one line what to install."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from boundaryloss.extras import MissingExtraError, require

WITHOUT = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
for name in {blocked}:
    sys.modules[name] = None
"""
TRY = """
import importlib
for module in {modules}:
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(f"{{type(error).__name__}} {{error}}")
"""
EXTRA = {
    "click",
    "filelock",
    "jinja2",
    "lightning",
    "matplotlib",
    "monai",
    "nibabel",
    "numpy",
    "onnx",
    "rich",
    "scipy",
    "torchmetrics",
}
DOORS = {
    "boundaryloss.files": "train",
    "boundaryloss.scoring": "train",
    "boundaryloss.report": "train",
    "boundaryloss.report.store": "train",
    "boundaryloss.training": "train",
    "boundaryloss.training.run": "train",
    "boundaryloss.comparison.run": "train",
    "boundaryloss.commands.actions.convert": "train",
    "boundaryloss.commands.actions.distmap": "train",
    "boundaryloss.commands.actions.export": "onnx",
    "boundaryloss.commands.actions.first_look": "train",
    "boundaryloss.integrations.lightning": "train",
    "boundaryloss.integrations.monai": "train",
    "boundaryloss.integrations.monai.losses": "train",
    "boundaryloss.integrations.nnunet.trainer": "nnunet",
    "boundaryloss.integrations.torchmetrics": "train",
    "boundaryloss.cli": "train",
}


def without(code):
    code = WITHOUT.format(blocked=EXTRA | {"nnunetv2"}) + code
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_require_names_what_is_missing_and_how_to_install_it():
    require("train", "this", "json", "torch")
    with pytest.raises(
        MissingExtraError, match=re.escape('this needs nowhere_: pip install "boundaryloss[train]"')
    ):
        require("train", "this", "json", "nowhere_")


def test_every_door_says_what_to_install():
    done = without(TRY.format(modules=list(DOORS)))
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(DOORS)
    for (module, extra), line in zip(DOORS.items(), lines, strict=True):
        assert line.startswith("MissingExtraError ") and line.endswith(
            f'pip install "boundaryloss[{extra}]"'
        ), module


@pytest.mark.parametrize("module", ["boundaryloss", "boundaryloss.cli"])
def test_the_command_says_what_to_install(module):
    done = without(f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == 'boundaryloss: the command needs click: pip install "boundaryloss[train]"\n'


def test_a_command_says_what_to_install_when_click_alone_is_there(tmp_path):
    code = WITHOUT.format(blocked={"lightning", "nibabel"})
    code += f"sys.argv = ['boundaryloss', 'train', 'phantom', '--out', {str(tmp_path / 'run')!r}]\n"
    code += "runpy.run_module('boundaryloss', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / "run").exists()
    assert re.fullmatch(r'boundaryloss: .*needs .*: pip install "boundaryloss\[train\]"\n', done.stderr)


def test_info_needs_click_and_torch_alone():
    blocked = (EXTRA | {"nnunetv2", "triton"}) - {"click", "numpy"}  # NumPy may come with torch
    code = WITHOUT.format(blocked=blocked) + "sys.argv = ['boundaryloss', 'info']\n"
    code += "runpy.run_module('boundaryloss', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "\ncpu (" in done.stdout


def test_the_script_is_the_module():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="boundaryloss")
    assert script.value == "boundaryloss.__main__:main"
