import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from boundaryloss.files import atomic_write, directories
from boundaryloss.files.directories import LOCK, check_free, check_new, locked, prepare_directory
from boundaryloss.files.errors import UserError


def test_locked_keeps_others_out_until_its_end(tmp_path):
    with locked(tmp_path / "out"):
        for claim in (check_free, lambda out: locked(out).__enter__()):
            with pytest.raises(UserError, match="out is in use by another command; wait for it"):
                claim(tmp_path / "out")
        (tmp_path / "out/table.csv").write_text("1")
    check_free(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.csv"]


def test_locked_holds_no_file_that_another_command_removed(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    out, flock, first = tmp_path / "out", fcntl.flock, [True]

    def ended_meanwhile(descriptor, operation):  # the other command ends between our opening and our locking
        if first and first.pop():
            (out / LOCK).unlink()
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", ended_meanwhile)
    with suppress(UserError), locked(out):  # refused, or in
        assert (out / LOCK).exists()
    assert not first


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(directories, "PATIENCE", 0.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [((1, 2), (1, 2)), ((1, 2), None), (None, (1, 2)), ((1, 2), (2, 3)), ((2, 2), (1, 12))],
)
def test_locked_keeps_the_same_part_and_the_whole_out(tmp_path, impatient, first, second):
    with locked(tmp_path / "out", first):
        for claim in (check_free, lambda out, part: locked(out, part).__enter__()):
            with pytest.raises(UserError, match="out is in use by another command; wait for it"):
                claim(tmp_path / "out", second)
    check_free(tmp_path / "out", second)
    assert not (tmp_path / "out").exists()


def test_locked_lets_the_other_parts_in_past_what_a_kill_left(tmp_path, impatient):
    (tmp_path / "out").mkdir()
    for name in (LOCK, f"{LOCK}-1-of-3", f"{LOCK}-2-of-2"):
        (tmp_path / "out" / name).touch()
    with locked(tmp_path / "out", (1, 2)), locked(tmp_path / "out", (2, 2)):
        pass
    assert not list((tmp_path / "out").iterdir())


def test_parts_that_start_at_once_in_a_new_directory_all_get_in(tmp_path):
    out, start, inside = tmp_path / "a/out", threading.Barrier(8), threading.Barrier(8)

    def begin(number):
        start.wait()
        check_new(out, or_with="mine.json")
        check_free(out, (number, 8))
        with locked(out, (number, 8)):
            check_new(out, or_with="mine.json")
            with atomic_write(out / "mine.json", "record") as file:
                file.write(b"{}")
            (out / f"run{number}").mkdir()
            inside.wait()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(1, 9)))
    assert len(list(out.iterdir())) == 9


def test_locked_leaves_nothing_where_nothing_was_written(tmp_path):
    with locked(tmp_path / "a/b/out"):
        pass
    assert not (tmp_path / "a").exists()


def test_locked_is_let_go_of_by_a_kill(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom boundaryloss.files.directories import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(1000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="in use"):
            check_free(tmp_path / "out")
        process.kill()
    with locked(tmp_path / "out"):
        prepare_directory(tmp_path / "out")  # what the kill left is no result


def test_check_new_refuses_what_holds_something_and_writes_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    for out, words in ((tmp_path, "is not empty"), (tmp_path / "file/out", "cannot make the directory")):
        with pytest.raises(UserError, match=words):
            check_new(out)
    check_new(tmp_path / "a/b")
    check_new(tmp_path, or_with="file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
