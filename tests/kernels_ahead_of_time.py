"""Compiles the Triton kernels for a GPU that need not be there, and prints what ptxas says of each.

python tests/kernels_ahead_of_time.py 90
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from boundaryloss.distance import cuda as maps
from boundaryloss.distance import cuda_components as forest
from boundaryloss.losses import cuda as loss

POINTERS = dict.fromkeys(("state", "result", "bounds", "next_bounds", "tiles", "factor"), "*fp32")
FLOATS = {"step": "fp32", "face_offset": "fp32"}


def kernels():
    """Name, kernel, constants, types of other pointers, sizes divisible by 16, warps."""
    for width, warps in ((128, 1), (512, 1), (4096, 8)):
        for label, divisible in (("*u8", ()), ("*u8", ("width",)), ("*i64", ("width",))):
            constants = {"IGNORES": True, "LANES": maps.LANES, "PADDED": width}
            pointers = {"maps": label, "labels_fit": "*i32"}
            yield f"first pass {width} {label}", maps._first_pass, constants, pointers, divisible, warps
    for size in (64, 512, 4096):
        for goal in ("state", "signed", "inside"):
            constants = {"GOAL": goal, "LANES": maps.LANES, "BLOCKS": size // maps.ROWS.value}
            yield f"{goal} {size}", maps._search_pass, constants, {}, (), 1
    for channels, lanes in ((1, maps.LANES), (2, maps.LANES), (4, maps.LANES), (8, maps.LANES // 2)):
        for softmax in (True, False):
            for logits in ("*fp32", "*bf16"):
                constants = {"SOFTMAX": softmax, "AS_DISTANCE": softmax, "CHANNELS": channels}
                constants |= {"LANES": lanes, "BLOCKS": 64}
                pointers = {"logits": logits, "gradient": logits}
                yield f"loss {channels} {softmax} {logits}", loss._last_pass, constants, pointers, (), 1
    for width, warps in ((64, 1), (512, 2), (4096, 8)):
        pointers = {"masks": "*u8", "parents": "*i32", "labels": "*i32"}
        for kernel in (forest._start, forest._unite, forest._finish):
            constants = {"PADDED": width} | ({"VOLUME": True} if kernel is forest._unite else {})
            yield f"{kernel.fn.__name__} {width}", kernel, constants, pointers, (), warps
    yield "scale", loss._scale, {"BLOCK": 1024}, {"gradient": "*bf16", "result": "*bf16"}, (), 4


def resource_usage(kernel, constants, pointers, divisible, warps, capability):
    """Registers, stack and the like, as `cuobjdump` words it."""
    names = kernel.arg_names
    types = POINTERS | FLOATS | pointers | dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        kernel,
        signature={name: types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]]
            for i, name in enumerate(names)
            if divisible and (name in divisible or types.get(name, "").startswith("*"))
        },
    )
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": warps})
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(compiled.asm["cubin"])
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return next(line.strip() for line in told.stdout.splitlines() if "REG:" in line)


def main():
    capability, *only = sys.argv[1:]
    for name, *kernel in kernels():
        if not only or name in only:
            print(f"{name}: {resource_usage(*kernel, int(capability))}", flush=True)


if __name__ == "__main__":
    main()
