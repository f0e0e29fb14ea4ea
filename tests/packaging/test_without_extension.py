"""An install without the native code: what it says, and that the tests of maps, losses and metrics hold."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


def run(*args):
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, cwd=TESTS.parent, env=environment
    )


def test_missing_native_code_is_said_once():
    done = run(
        "-c",
        "import torch, warnings, without_native; warnings.simplefilter('always');"
        "from boundaryloss import BoundaryLoss, distance_transform; from boundaryloss.metrics import *;"
        "labels = torch.ones(1, 4, 4).long(); labels[:, 0] = 0;"
        "[BoundaryLoss()(torch.zeros(1, 2, 4, 4), labels) for _ in range(2)];"
        "contour_distances(labels, labels, num_classes=2);"
        "print(distance_transform(labels[0] > 0).max().item())",
    )
    assert done.stdout == "3.0\n", done.stderr
    assert done.stderr.count("Warning") == 1
    assert "without its native code" in done.stderr and "C++20 compiler" in done.stderr


def test_maps_losses_and_metrics_work_without_native_code():
    """A few of the tests; `make test-without-native` runs all."""
    files = "components", "distance_transform", "signed_distance_map"
    files = *(f"distance/test_{file}.py" for file in files), "losses/test_lesion_balance.py", "metrics"
    few = ["-m", "not slow and not gpu", "-k", "(salt or refuses or names or formula) and not kernels"]
    done = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "without_native",
        *(f"tests/{file}" for file in files), *few,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
