"""What an issue report needs: versions, devices, and which kernels serve them. It needs torch alone."""

import platform
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from boundaryloss.distance.devices import COMPONENTS, MAPS, Kernels
from boundaryloss.distance.extension import native_code
from boundaryloss.losses.op import KERNELS as FUSED_LOSS

PACKAGES = ("monai", "lightning", "nnunetv2", "torchmetrics", "numpy")
TRITON = ("triton", "triton-windows", "pytorch-triton-rocm", "pytorch-triton-xpu")  # who brings the module


def report() -> Iterator[str]:
    """Yield lines. On a GPU the Triton kernels are tried, which may take seconds: they are compiled first."""
    yield f"boundaryloss {version('boundaryloss')}"
    yield f"Python {platform.python_version()} on {platform.platform()}"
    yield f"torch {torch.__version__}, {_first_version(*TRITON, name='triton')}"
    yield ", ".join(_first_version(package) for package in PACKAGES)
    yield ""
    yield f"cpu ({torch.get_num_threads()} threads): {_native_kernels()}"
    for device, name in _accelerators():
        yield f"{device} ({name}):"
        for kernels in (MAPS, FUSED_LOSS, COMPONENTS):
            yield f"  {kernels.name}: {_verdict(kernels, device)}"


def _first_version(*packages: str, name: str = "") -> str:
    for package in packages:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return f"no {name or packages[0]}"


def _native_kernels() -> str:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        native = native_code()
    if native is None:
        return f"plain PyTorch. {said[0].message if said else 'There is no native code'}"
    *others, best = native.levels()
    return f"native kernels, instruction set {best}" + (f" (also {', '.join(others)})" if others else "")


def _accelerators() -> Iterator[tuple[torch.device, str]]:
    for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu), ("mps", torch.mps)):
        for index in range(module.device_count()):
            device = torch.device(kind, index)
            if kind == "mps":
                yield device, platform.processor() or "Apple"
            elif kind == "cuda":
                capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
                yield device, f"{torch.cuda.get_device_name(index)}, compute capability {capability}"
            else:
                yield device, torch.xpu.get_device_name(index)


def _verdict(kernels: Kernels, device: torch.device) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say stands in the verdict
            why = kernels.verdict(device)
    except RuntimeError as error:
        return f"not known, the device fails by itself: {' '.join(str(error).split())}"
    return "Triton kernels, which passed their trial" if why is None else f"{kernels.instead} ({why})"
