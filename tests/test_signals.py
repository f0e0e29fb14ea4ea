"""Whatever a command is at: a signal ends it with 128 + its number and one line, and nobody stays behind."""

import os
import signal
import subprocess
import sys

import pytest
from datasets import write_slices

from boundaryloss import cli
from boundaryloss.scoring import folders as evaluate
from boundaryloss.signals import SIGNALS, Stopped, stopping_on_signals
from boundaryloss.training import callbacks, predict

SETTINGS = 'epochs = 1\nfeatures = [4, 4, 4, 4, 4]\naccelerator = "cpu"\n'
COMMANDS = {
    "train": ("train", "data", "--out", "out", "--config", "c.toml"),
    "predict": ("predict", "run", "data", "--out", "out"),
    "evaluate": ("evaluate", "data/masks", "data", "--out", "out"),
    "compare": ("compare", "e.toml", "--out", "out"),
}


pytestmark = pytest.mark.usefixtures("heeded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    write_slices(folder / "data")
    (folder / "c.toml").write_text(SETTINGS)
    experiment = f'data = "data"\nseeds = [0]\n[train]\n{SETTINGS}[methods.GDL]\nloss = "gdl"\n'
    (folder / "e.toml").write_text(experiment)
    assert run(folder, "train", "data", "--out", "run", "--config", "c.toml") == 0
    return folder


def run(folder, *arguments) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.chdir(folder)
        cli.main(list(arguments))
    return ended.value.code


@pytest.mark.parametrize(
    ("command", "where", "number"),
    [
        ("train", (callbacks.Steps, "on_train_batch_end"), signal.SIGTERM),
        ("train", (callbacks.Steps, "on_train_batch_end"), signal.SIGINT),
        ("train", (callbacks.Scores, "on_test_batch_end"), signal.SIGTERM),
        ("train", (callbacks.Scores, "on_test_batch_end"), signal.SIGHUP),
        ("predict", (predict, "write_labels"), signal.SIGTERM),
        ("predict", (predict, "write_labels"), signal.SIGINT),
        ("evaluate", (evaluate, "find_pairs"), signal.SIGTERM),
        ("compare", (callbacks.Steps, "on_train_batch_end"), signal.SIGTERM),
    ],
)
def test_a_signal_is_one_line_and_a_status(folder, tmp_path, monkeypatch, capfd, command, where, number):
    arguments = [str(tmp_path / "out") if word == "out" else word for word in COMMANDS[command]]
    monkeypatch.setattr(*where, lambda *args, **options: signal.raise_signal(number))
    before = [signal.getsignal(one) for one in SIGNALS]
    capfd.readouterr()
    assert run(folder, *arguments) == 128 + number
    out, err = capfd.readouterr()
    name = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    stays = {"train": "--resume goes on", "compare": "the same command goes on"}
    assert out == "" and err.splitlines()[-1].startswith(f"boundaryloss: {name}") and "Traceback" not in err
    assert [word in err.splitlines()[-1] for word in stays.values()] == [command == key for key in stays]
    assert [signal.getsignal(one) for one in SIGNALS] == before
    assert not list(tmp_path.rglob("cases.csv")) and not list(tmp_path.rglob(".lock"))


def test_stopping_on_signals_raises_once_and_leaves_what_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with pytest.raises(Stopped) as stopped, stopping_on_signals():
            signal.raise_signal(signal.SIGHUP)
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)  # the end is under way
        assert stopped.value.status == 143 and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_stopping_on_signals_is_not_lost_in_an_error_of_cleaning_up():
    with pytest.raises(Stopped), stopping_on_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise RuntimeError("a worker is gone")


def test_an_end_of_file_is_no_interruption(folder, monkeypatch):
    def end(*args, **options):
        raise EOFError("half a file")

    monkeypatch.setattr(evaluate, "find_pairs", end)
    monkeypatch.chdir(folder)
    with pytest.raises(EOFError, match="half a file"):
        cli.main(list(COMMANDS["evaluate"]))


def test_end_with_parent_ends_a_process_whose_parent_is_killed():
    child = (
        "from boundaryloss.signals import end_with_parent\nimport sys, time\nend_with_parent()\n"
        "print('ready', flush=True)\ntime.sleep(1000)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.stdout.read() == ""  # the end of the file: the child has let go of it


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pipe that closes")
def test_a_closed_pipe_is_no_traceback():
    code = "import sys\nfrom boundaryloss import cli\nsys.stdin.read()\ncli.main(['nnunet-path'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
