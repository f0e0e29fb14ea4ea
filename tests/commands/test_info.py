"""`boundaryloss info`: versions, devices, and which kernels serve them."""

import subprocess
import sys

import pytest
import torch
from elsewhere import device_of, sound_kernels

import boundaryloss
from boundaryloss import cli
from boundaryloss.commands.actions import info
from boundaryloss.distance.extension import native_code


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        cli.main([*arguments])
    assert not exit_info.value.code
    return capsys.readouterr().out


def test_version_is_said_in_three_ways(capsys):
    assert run(capsys, "--version") == f"boundaryloss {boundaryloss.__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "boundaryloss", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"boundaryloss {boundaryloss.__version__}\n"


def test_info_names_versions_and_the_kernels_of_the_cpu(capsys, monkeypatch):
    monkeypatch.setattr(info, "version", lambda name: {"boundaryloss": "7", "triton-windows": "8"}[name])
    monkeypatch.setattr(info, "PackageNotFoundError", KeyError)
    text = run(capsys, "info")
    assert text.startswith("boundaryloss 7\nPython ")
    assert f"torch {torch.__version__}, triton-windows 8\nno monai, no lightning, no nnunetv2" in text
    levels = native_code().levels() if native_code() else []
    assert (f"instruction set {levels[-1]}" if levels else "cpu (") in text


def test_info_says_what_a_cpu_without_native_code_misses(capsys, monkeypatch):
    monkeypatch.setattr(info, "native_code", lambda: None)
    assert "plain PyTorch. There is no native code" in run(capsys, "info")


@pytest.fixture
def gpu(monkeypatch):
    with device_of("cuda:0", monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
        yield sound_kernels(monkeypatch)


def test_info_tries_the_kernels_of_a_gpu(gpu, capsys):
    text = run(capsys, "info")
    assert "\ncuda:0 (H100, compute capability 9.0):\n" in text
    assert text.count("Triton kernels, which passed their trial\n") == 3


def test_info_says_why_kernels_do_not_serve(gpu, capsys):
    def spoil(result):
        raise OSError("no such register")

    gpu.spoil = spoil
    text = run(capsys, "info")  # without a warning, which would be an error
    assert "  distance maps: the CPU computes them (OSError: no such register)\n" in text
    assert text.count("OSError") == 3


def test_info_survives_a_device_that_fails(gpu, capsys):
    def spoil(result):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to ...")

    gpu.spoil = spoil
    assert run(capsys, "info").count("not known, the device fails by itself: CUDA out of memory. Tried") == 3
