from pathlib import Path

import pytest

from boundaryloss.files.errors import UserError
from boundaryloss.files.names import check_names


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "../x", "/etc/x", "a/b", "a\\b", "a\0b", "a\nb", "a\x1bb", "a\x7fb",
     "a\u2028b", "a\udcffb", "\ud800", "a" * 231, "ü" * 116],
)  # fmt: skip
def test_check_names_refuses_what_cannot_be_a_file(name):
    with pytest.raises(UserError, match="rename it") as caught:
        check_names(["good", name], Path("data"))
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 150


@pytest.mark.parametrize("twin", ["Case_1", "case_1", "CASE_1"])
def test_check_names_refuses_what_differs_only_in_case(twin):
    with pytest.raises(UserError, match=r"overwrite|comes twice"):
        check_names(["case_1", twin], Path("data"))


def test_check_names_refuses_what_differs_only_in_composition():
    with pytest.raises(UserError, match="accents"):
        check_names(["\u00e9", "e\u0301"], Path("data"))


def test_check_names_takes_names_of_any_language(tmp_path):
    names = ["p07 z3", "病例1", "é", "a-b.c", "x" * 230, "-"]
    check_names(names, Path("data"))
    for name in names:
        (tmp_path / f".{name}.nii.gz.12345678").touch()  # what the longest write needs
