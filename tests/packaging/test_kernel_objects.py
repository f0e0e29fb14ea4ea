"""What the compiler made of the kernels."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEADLY = re.compile(r"std::(\w+::)?(__throw_|length_error::)")  # called when all is lost anyway
OBJECTS = sorted((Path(__file__).parent.parent.parent / "build").glob("*/native/**/kernels_*.dir/*.cpp.o*"))


@pytest.mark.skipif(not OBJECTS or not shutil.which("nm"), reason="built elsewhere, or no nm to look into it")
def test_kernels_share_no_function():
    """A weak one of one level may serve the other levels, on processors without its instructions."""
    for path in OBJECTS:
        said = subprocess.run(["nm", "-C", path], capture_output=True, text=True, check=True).stdout
        symbols = [line[17:].split(" ", 1) for line in said.splitlines()]
        assert any(name.endswith(("::table", "::nearest")) for _, name in symbols), path
        weak = [name for kind, name in symbols if kind in "TW" and not DEADLY.match(name)]
        assert not weak, path
