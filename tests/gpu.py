"""For tests that need a CUDA device, and for kernels that run in Triton's interpreter without one."""

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_MARKS = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]
on_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=_MARKS)])
