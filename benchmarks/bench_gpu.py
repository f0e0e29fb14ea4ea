"""Distance maps and the boundary loss on the GPU: checked, then timed beside memory traffic and peers.

    python benchmarks/bench_gpu.py [--case NAME] [--scipy]

Times are microseconds on the device (events, median, caches flushed before every call). `floor` is the
traffic of the passes at the bandwidth of a device copy measured in the same run, `x floor` the time over it.
CuPy or cuCIM and MONAI take part where they are installed; SciPy, minutes of it, with `--scipy`. SciPy's and
MONAI's boundary loss are one call by the wall clock.
"""

import argparse
import statistics
import time
from importlib.util import find_spec

import numpy as np
import torch
from record import save
from rich.console import Console
from rich.table import Table
from scipy.ndimage import distance_transform_edt

from boundaryloss import BoundaryLoss, LogBoundaryLoss, signed_distance_map

PACKAGES = (
    "boundaryloss",
    "torch",
    "triton",
    "monai",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cucim-cu12",
    "cucim-cu13",
)


def blobs(shape, classes, *, count, radius, seed):
    """A few balls of every class, placed at random, in every image of the batch."""
    rng = np.random.default_rng(seed)
    labels = torch.zeros(shape, dtype=torch.uint8, device="cuda")
    grid = torch.meshgrid(*(torch.arange(n, device="cuda") for n in shape[1:]), indexing="ij")
    for image in labels:
        for label in np.repeat(np.arange(1, classes), count):
            centre = [float(rng.uniform(0.1, 0.9) * n) for n in shape[1:]]
            size = float(rng.uniform(*radius) * min(shape[1:]))
            image[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < size**2] = int(label)
    return labels


def cases():
    """Name -> labels, classes. Those of the goals first."""
    organs, lesions = {"count": 3, "radius": (0.03, 0.12)}, {"count": 1, "radius": (0.01, 0.015)}
    flat, deep, large = (16, 512, 512), (2, 128, 128, 128), (1, 512, 512, 512)
    noise = torch.Generator("cuda").manual_seed(0)
    yield "16 x 512^2, 4 classes", blobs(flat, 4, **organs, seed=1), 4
    yield "2 x 128^3, 4 classes", blobs(deep, 4, **organs, seed=2), 4
    yield "512^3, 2 classes", blobs(large, 2, **organs, seed=3), 2
    yield "16 x 512^2, small lesions", blobs(flat, 4, **lesions, seed=4), 4
    yield "2 x 128^3, small lesions", blobs(deep, 4, **lesions, seed=5), 4
    yield "512^3, one small lesion", blobs(large, 2, **lesions, seed=6), 2
    yield "16 x 512^2, one organ", blobs(flat, 2, count=1, radius=(0.25, 0.35), seed=7), 2
    random = torch.randint(0, 4, flat, generator=noise, device="cuda", dtype=torch.uint8)
    yield "16 x 512^2, random", random, 4


class Clock:
    """Median time on the device in microseconds, from a cold cache."""

    def __init__(self):
        self.flushed = torch.empty(1 << 30, device="cuda")  # written so long that no launch is waited for

    def __call__(self, work, seconds=0.5, most=50):
        for _ in range(2):
            work()
        times, begun = [], time.perf_counter()
        while len(times) < 3 or (len(times) < most and time.perf_counter() - begun < seconds):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.flushed.zero_()
            start.record()
            work()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) * 1e3)
        return statistics.median(times)


def bandwidth(clock):
    """Bytes per microsecond, read and written, of a device copy."""
    source = torch.ones(1 << 28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / clock(lambda: target.copy_(source))


def each_mask(labels, classes, transform, stack):
    """Stacks transform(mask) over images and foreground classes, as the peers have to be used."""
    masks = [[image == c for c in range(1, classes)] for image in labels]
    return stack([stack([transform(m) for m in image]) for image in masks])


def by_scipy(labels, classes):
    """From the device to SciPy and back."""
    transform = lambda m: distance_transform_edt(~m) - distance_transform_edt(m)  # noqa: E731
    return torch.from_numpy(each_mask(labels.cpu().numpy(), classes, transform, np.stack)).cuda()


def cupy_transform():
    """Exact transform of cuCIM, else of CuPy, on tensors; None without either."""
    if find_spec("cucim"):
        from cucim.core.operations.morphology import distance_transform_edt as edt
    elif find_spec("cupy"):
        from cupyx.scipy.ndimage import distance_transform_edt as edt
    else:
        return None
    import cupy

    def transform(mask):
        mask = cupy.from_dlpack(mask.view(torch.uint8)).astype(bool)
        return torch.from_dlpack(edt(~mask) - edt(mask))

    return transform


def check(labels, classes):
    """The map is the CPU kernel's, the fused loss that of a map in memory."""
    ours = signed_distance_map(labels, classes).cpu()
    assert torch.equal(ours, signed_distance_map(labels.cpu(), classes)), "the map is not the CPU's"
    logits = logits_for(labels, classes)
    fused = BoundaryLoss()(logits, labels)
    in_memory = BoundaryLoss()(logits, labels, mask=torch.ones_like(labels, dtype=torch.bool))
    torch.testing.assert_close(fused, in_memory, rtol=1e-4, atol=1e-4)


def logits_for(labels, classes):
    shape = (len(labels), classes, *labels.shape[1:])
    return torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)


def forward_backward(loss, logits, target):
    def work():
        logits.grad = None
        loss(logits, target).backward()

    return work


def measure(labels, classes, clock, speed, scipy):
    """Microseconds by name, and the floors."""
    voxels, space = labels.numel(), labels.ndim - 1
    maps, logits = voxels * (classes - 1), logits_for(labels, classes)
    # Labels read, state written; each further axis reads and writes it; the last does so for the map.
    map_floor = (voxels * labels.element_size() + 4 * maps * (2 * space - 1)) / speed
    # The last pass reads the state and the logits and writes the gradient, which backward reads and writes.
    half = logits.numel() * logits.element_size()
    loss_floor = (voxels * labels.element_size() + 4 * maps * (2 * space - 2) + 4 * half) / speed
    row = {"map floor": map_floor, "map": clock(lambda: signed_distance_map(labels, classes))}
    row["map pixel"] = clock(lambda: signed_distance_map(labels, classes, contour="centers"))
    row |= {"loss floor": loss_floor, "loss": clock(forward_backward(BoundaryLoss(), logits, labels))}
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    unfused = lambda x, y: BoundaryLoss()(x, y, mask=everywhere)  # noqa: E731
    row["loss unfused"] = clock(forward_backward(unfused, logits, labels))
    row["log"] = clock(forward_backward(LogBoundaryLoss(), logits, labels))
    balanced = LogBoundaryLoss(balance_lesions=True)
    row["log balanced"] = clock(forward_backward(balanced, logits, labels))
    if transform := cupy_transform():
        row["CuPy"] = clock(lambda: each_mask(labels, classes, transform, torch.stack), most=3)
    if find_spec("monai"):
        from monai.losses import DiceCELoss

        loss = DiceCELoss(to_onehot_y=True, softmax=True)
        row["DiceCE"] = clock(forward_backward(loss, logits, labels.unsqueeze(1)))
        if voxels < 1 << 25:
            row["MONAI boundary"] = monai_boundary(logits, labels, classes)
    if scipy:
        begun = time.perf_counter()
        by_scipy(labels, classes)
        row["SciPy"] = (time.perf_counter() - begun) * 1e6
    return row


def monai_boundary(logits, labels, classes):
    """MONAI's `BoundaryLoss`, forward and backward, by SciPy or cuCIM as it finds them; the wall clock."""
    from monai.losses import BoundaryLoss as MonaiBoundaryLoss

    loss = MonaiBoundaryLoss(to_onehot_y=True, softmax=True, include_background=False)
    work = forward_backward(loss, logits.detach().float().requires_grad_(), labels.unsqueeze(1))
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) * 1e6


def training_step(shape, loss, alpha):
    """A step of a MONAI U-Net in bf16: DiceCE, and the boundary term where `alpha` is not None."""
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    channels, strides = (32, 64, 128, 256, 320), (2, 2, 2, 2)
    network = UNet(len(shape) - 2, 1, 4, channels, strides, num_res_units=2).cuda()
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.99, nesterov=True)
    images = torch.randn(shape, device="cuda")
    target = blobs((shape[0], *shape[2:]), 4, count=2, radius=(0.05, 0.15), seed=8).unsqueeze(1)
    boundary = BoundaryLoss()

    def work():
        optimiser.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = network(images)
        total = loss(logits, target)
        if alpha is not None:
            total = total + alpha * boundary(logits, target)
        total.backward()
        optimiser.step()

    return work


def overheads(clock):
    """Percent that the boundary term adds to a training step, with the steps' times."""
    from monai.losses import DiceCELoss

    rows = []
    for shape in ((16, 1, 512, 512), (2, 1, 128, 128, 128)):
        loss = DiceCELoss(to_onehot_y=True, softmax=True)
        without, with_boundary = (training_step(shape, loss, alpha) for alpha in (None, 0.01))
        times = [(clock(without, 2), clock(with_boundary, 2)) for _ in range(3)]  # in turn, against drift
        alone, both = (statistics.median(t) for t in zip(*times, strict=True))
        rows.append({"step": " x ".join(map(str, shape)), "DiceCE": alone, "and boundary": both})
        rows[-1]["overhead %"] = 100 * (both / alone - 1)
    return rows


def show(rows, title):
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*names, title=title)
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v or "-") for v in map(row.get, names)))
    Console(width=200).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--scipy", action="store_true", help="SciPy too, which takes minutes")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a CUDA device, and a build of torch for it")
    clock, rows = Clock(), []
    speed = bandwidth(clock)
    print(f"{torch.cuda.get_device_name()}: a copy moves {speed / 1e6:.2f} TB/s")
    for name, labels, classes in cases():
        if options.case and options.case not in name:
            continue
        check(labels, classes)
        row = {"case": name, **measure(labels, classes, clock, speed, options.scipy)}
        row["map x floor"], row["loss x floor"] = (
            row["map"] / row["map floor"],
            row["loss"] / row["loss floor"],
        )
        rows.append(row)
        show([row], name)
    show(rows, "microseconds")
    steps = overheads(clock) if find_spec("monai") and not options.case else []
    if steps:
        show(steps, "training step, microseconds")
    if not options.case:
        device = torch.cuda.get_device_name()
        save(device, PACKAGES, {"device": device, "TB/s": speed / 1e6, "rows": rows, "steps": steps})


if __name__ == "__main__":
    main()
