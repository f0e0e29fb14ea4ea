"""Which kernels serve which device, and why: the one place that decides.

- CPU: the native kernels.
- CUDA and XPU: the Triton kernels, from the moment on that they have passed their trial on the device.
- Elsewhere, and where they did not pass: the native kernels. Labels go to the CPU, results come back.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from boundaryloss.distance import trials

Result = TypeVar("Result")
_TORCH = "2.7"  # brought Triton 3.3; compilers before it may crash on the kernels
_CAPABILITY = (7, 0)  # of the oldest NVIDIA GPUs that Triton serves


@cache
def obstacle(device: torch.device) -> str | None:
    """Return what keeps the Triton kernels from `device`, or None if they may be tried there.

    What an installation would mend is a warning, too, once for each device.
    """
    if device.type not in ("cuda", "xpu"):
        return f"Triton kernels are for CUDA and XPU devices, not for {device.type}"
    if TorchVersion(torch.__version__) < _TORCH:
        return _warn_of(
            device, f"the Triton kernels need torch {_TORCH} or later, this is {torch.__version__}"
        )
    if find_spec("triton") is None:
        return _warn_of(device, "Triton is not installed (pip install triton; on Windows triton-windows)")
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < _CAPABILITY:
            return "Triton needs compute capability {}.{}, this GPU has {}.{}".format(
                *_CAPABILITY, *capability
            )
    return None


def _warn_of(device: torch.device, why: str) -> str:
    warnings.warn(f"{why}: distance maps of {device} are computed on the CPU, which is slower", stacklevel=2)
    return why


class Kernels:
    """Triton kernels that belong together. On every device they are tried before they serve it.

    A verdict holds for the process, whatever the thread. A trial takes milliseconds, after the kernels are
    compiled.
    """

    def __init__(self, name: str, trial: Callable[[torch.device], None], *, instead: str) -> None:
        self.name, self.instead = name, instead
        self._trial = trial
        self._verdicts: dict[torch.device, str | None] = {}  # None where they serve
        self._lock = threading.RLock()

    def verdict(self, device: torch.device) -> str | None:
        """Return why the kernels do not serve `device`, or None if they do; try them if nobody has yet.

        Raises:
            RuntimeError: the device has failed before, or has no memory left. Then nothing is decided.
        """
        if device not in self._verdicts:
            with self._lock:
                if device not in self._verdicts:
                    self._verdicts[device] = obstacle(device) or self._failure(device)
        return self._verdicts[device]

    def serve(self, device: torch.device) -> bool:
        """Return whether the kernels serve `device`.

        During the capture of a CUDA graph nothing can be tried: what has no verdict yet counts as sound.

        Raises:
            RuntimeError: as `verdict`.
        """
        return (self._known(device) if _is_capturing(device) else self.verdict(device)) is None

    def run(self, device: torch.device, launch: Callable[[], Result]) -> Result | None:
        """Return what `launch` makes with these kernels, or None if they do not serve `device`.

        Raises:
            RuntimeError: as `verdict`.
        """
        if not self.serve(device):
            return None
        try:
            return launch()
        except Exception as error:
            if _is_no_fault_of_kernels(error) or _is_capturing(device):
                raise
            with _waiting_allowed(device):
                _wait_for(device)
            self._condemn(device, error)
            return None

    def to_cpu(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the CPU, for the work that the kernels do not do.

        Raises:
            RuntimeError: a CUDA graph is captured, which has no way over the CPU.
        """
        if _is_capturing(tensor.device):
            why = self._known(tensor.device)
            raise RuntimeError(f"{self.name} come from the CPU, so no CUDA graph can capture them: {why}")
        return tensor.cpu()

    def _known(self, device: torch.device) -> str | None:
        return self._verdicts[device] if device in self._verdicts else obstacle(device)

    def _failure(self, device: torch.device) -> str | None:
        """Return what goes wrong when the kernels are tried on `device`, or None if nothing does."""
        with _waiting_allowed(device):
            _wait_for(device)
            try:
                self._trial(device)
            except Exception as error:
                if _is_no_fault_of_kernels(error):
                    raise
                return self._condemn(device, error)
        return None

    def _condemn(self, device: torch.device, error: Exception) -> str:
        why = _in_a_line(error)
        with self._lock:
            known = self._verdicts.get(device)
            self._verdicts[device] = known or why
        if known is None:
            remedy = "please report this with the output of `boundaryloss info`"
            if "C compiler" in why:
                remedy = "Triton needs a C compiler (install gcc, or set CC)"
            warnings.warn(
                f"the Triton kernels for {self.name} fail on {device}; from now on {self.instead}, which is "
                f"right but slower; {remedy}: {why}",
                stacklevel=2,
            )
        return known or why


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _is_no_fault_of_kernels(error: Exception) -> bool:
    """Tell whether memory was short, as PyTorch or the driver words it: the next call may fit."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


def _wait_for(device: torch.device) -> None:
    """Raise what earlier work has done to the device: such errors come late, at whatever is called next."""
    torch.zeros((), dtype=torch.float32, device=device).cpu()


@contextmanager
def _waiting_allowed(device: torch.device) -> Iterator[None]:
    """Wait for the device even under `torch.cuda.set_sync_debug_mode`: it is once."""
    if device.type != "cuda":
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _in_a_line(error: Exception) -> str:
    """Return kind and text; of a long one, as compilers make them, beginning and end."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) < 300 else f"{text[:100]} ... {text[-200:]}"


MAPS = Kernels("distance maps", trials.maps, instead="the CPU computes them")
COMPONENTS = Kernels("connected components", trials.components, instead="the CPU finds them")
