"""Distance maps on the CPU beside the peers': one process, the same inputs, results compared before timing.

    python benchmarks/bench_cpu.py [--case NAME] [--threads N ...]

Four tables: the maps (nanoseconds per voxel and foreground class, the median of several calls in turn;
`faces` and `centers` at the best instruction set of this processor, the older ones in columns of their own;
`floor` is the time to fill an output of the same size; the ratio is the best peer's time over ours; every
peer in its fastest exact use: edt in one pass for both sides), the losses beside MONAI's (milliseconds,
forward and backward), the growth with the size, and the memory a call takes beyond its output.
"""

import argparse
import multiprocessing
import platform
import resource
import statistics
import time
from pathlib import Path

import cv2
import edt
import numpy as np
import SimpleITK
import torch
from monai.losses import BoundaryLoss as MonaiBoundaryLoss
from monai.losses import DiceCELoss, HausdorffDTLoss
from record import save
from rich.console import Console
from rich.table import Table
from scipy.ndimage import distance_transform_edt

from boundaryloss import BoundaryLoss, signed_distance_map
from boundaryloss.distance.extension import native_code

*OLDER, BEST = native_code().levels()
PACKAGES = ("boundaryloss", "torch", "scipy", "edt", "opencv-python-headless", "SimpleITK", "monai")


def blobs(shape, classes, *, seed, count=3, radius=(0.03, 0.12)):
    """A few balls of every class, placed at random."""
    rng = np.random.default_rng(seed)
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    labels = np.zeros(shape, np.uint8)
    for label in np.repeat(np.arange(1, classes), count):
        centre = [rng.uniform(0.1, 0.9) * n for n in shape]
        size = rng.uniform(*radius) * min(shape)
        labels[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < size**2] = label
    return labels


def cases():
    """Name -> (labels (batch, *space), classes): first those of the table, then stress."""
    rng = np.random.default_rng(0)
    tiny = np.zeros((128, 128, 128), np.uint8)
    tiny[60:64, 50:53, 70:75] = 1
    hole, hole_3d = np.ones((512, 512), np.uint8), np.ones((128, 128, 128), np.uint8)
    hole[250, 250] = hole_3d[60, 70, 80] = 0
    return {
        "16 x 64^2 random, 8 classes": (rng.integers(0, 8, (16, 64, 64)).astype(np.uint8), 8),
        "256^2 blobs, 4 classes": (blobs((256, 256), 4, seed=1)[None], 4),
        "512^2 blobs, 4 classes": (blobs((512, 512), 4, seed=2)[None], 4),
        "128^3 blobs, 4 classes": (blobs((128, 128, 128), 4, seed=3)[None], 4),
        "64 x 256^2 blobs, 4 classes": (blobs((64, 256, 256), 4, seed=4, radius=(0.08, 0.4))[None], 4),
        "128^3 one tiny lesion": (tiny[None], 2),
        "512^2 big organs": (blobs((512, 512), 3, seed=5, count=1, radius=(0.25, 0.35))[None], 3),
        "128^3 big organs": (blobs((128, 128, 128), 3, seed=6, count=1, radius=(0.25, 0.35))[None], 3),
        "512^2 one hole": (hole[None], 2),
        "128^3 one hole": (hole_3d[None], 2),
        "512^2 salt 1 %": ((rng.random((1, 512, 512)) < 0.01).astype(np.uint8), 2),
        "128^3 salt 1 %": ((rng.random((1, 128, 128, 128)) < 0.01).astype(np.uint8), 2),
        "512^2 thin diagonal": (np.eye(512, dtype=np.uint8)[None], 2),
        "64^3 random, 8 classes": (rng.integers(0, 8, (1, 64, 64, 64)).astype(np.uint8), 8),
        **real_cases(),
    }


def real_cases():
    """Label maps of the small real datasets, where they are at hand."""
    from PIL import Image

    data = Path(__file__).parents[2] / "shared" / "data"
    if not data.is_dir():
        return {}
    fundus = np.stack(
        [np.asarray(Image.open(p)) for p in sorted((data / "idrid_tiles/masks").glob("*"))[:16]]
    )
    brains = {
        f"MS lesions {name}": np.stack(
            [np.asarray(Image.open(p)) for p in sorted((data / "ms_flair_2d/masks").glob(f"{name}*"))]
        )
        for name in ("p07", "p19", "p26")
    }
    return {
        "retinal lesions 16 x 256^2, 5 classes": (fundus, 5),
        **{
            f"{name}, {' x '.join(map(str, brain.shape))}": ((brain[None] > 0).astype(np.uint8), 2)
            for name, brain in brains.items()
        },
    }


def each_mask(labels, classes, transform, threads=1):
    """transform(mask) of all images and foreground classes, one at a time, as every peer has to be used."""
    result = np.zeros((len(labels), classes - 1, *labels.shape[1:]), np.float32)
    for image, maps in zip(labels, result, strict=True):
        for label, out in enumerate(maps, start=1):
            mask = image == label
            if mask.any():
                out[...] = transform(mask, threads)
    return result


def by_scipy(mask, _threads):
    return distance_transform_edt(~mask) - distance_transform_edt(mask)


def by_edt(mask, threads):
    """Of two labels, the distance to the nearest voxel of the other: both sides in one pass."""
    distance = edt.edt(mask.view(np.uint8) + 1, parallel=threads)
    return np.where(mask, -distance, distance)


def by_opencv(mask, _threads):
    outside, inside = (m.view(np.uint8) for m in (~mask, mask))
    precise = cv2.DIST_MASK_PRECISE
    return cv2.distanceTransform(outside, cv2.DIST_L2, precise) - cv2.distanceTransform(
        inside, cv2.DIST_L2, precise
    )


def by_simpleitk(mask, _threads):
    image = SimpleITK.GetImageFromArray(mask.view(np.uint8))
    settings = {"squaredDistance": False, "useImageSpacing": False, "insideIsPositive": False}
    distance = SimpleITK.SignedMaurerDistanceMap(image, **settings)
    return SimpleITK.GetArrayFromImage(distance)  # a view would outlive its image


PEERS = {"SciPy": by_scipy, "edt": by_edt, "OpenCV": by_opencv, "SimpleITK": by_simpleitk}


def check(labels, classes):
    """Ours is SciPy's up to the -1 inside, and each peer computes what it is taken for."""
    ours = signed_distance_map(torch.from_numpy(labels), classes, contour="centers").numpy()
    theirs = each_mask(labels, classes, by_scipy)
    np.testing.assert_allclose(ours, np.where(theirs < 0, theirs + 1, theirs), rtol=1e-6, atol=1e-6)
    image = labels[:1]
    usual = each_mask(image, classes, by_scipy)
    if (image == 0).any():
        if labels.ndim == 3:
            np.testing.assert_allclose(each_mask(image, classes, by_opencv), usual, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(each_mask(image, classes, by_edt), usual, rtol=1e-4, atol=1e-3)
        # Inside, SimpleITK measures to the object's own outermost voxels: up to a voxel's diagonal less.
        assert np.abs(each_mask(image, classes, by_simpleitk) - usual).max() < 3**0.5 + 1e-3


def in_turn(works, seconds=1.0):
    """Median time of each work, called in turn so that a drift of the machine meets them all."""
    times = {name: [] for name in works}
    for work in works.values():
        work()
    spent = 0.0
    while spent < seconds or len(next(iter(times.values()))) < 3:
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
            spent += times[name][-1]
    return {name: statistics.median(own) for name, own in times.items()}


def at_level(level, labels, classes):
    """The maps by the kernels of an older instruction set."""
    native_code().use_level(level)
    try:
        return signed_distance_map(labels, classes)
    finally:
        native_code().use_level(BEST)


def measure(labels, classes, threads):
    """Seconds by name."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    tensor = torch.from_numpy(labels)
    floor = torch.empty(len(labels), classes - 1, *labels.shape[1:])
    ours = in_turn(
        {
            "faces": lambda: signed_distance_map(tensor, classes),
            "centers": lambda: signed_distance_map(tensor, classes, contour="centers"),
            **{f"faces, {level}": lambda level=level: at_level(level, tensor, classes) for level in OLDER},
        }
    )
    # Apart, since torch's own threads spin for a while after it, on the cores that the others need.
    ours |= in_turn({"floor": lambda: floor.fill_(1.0)}, seconds=0.1)
    time.sleep(0.3)
    peers = {n: p for n, p in PEERS.items() if n != "OpenCV" or labels.ndim == 3}
    return ours | in_turn(
        {n: lambda p=p: each_mask(labels, classes, p, threads) for n, p in peers.items()}, seconds=0.5
    )


def run(only, thread_counts):
    """All rows: case, threads and nanoseconds by name."""
    rows = []
    for name, (labels, classes) in cases().items():
        if only and only not in name:
            continue
        check(labels, classes)
        for threads in thread_counts:
            unit = 1e9 / (labels.size * (classes - 1))
            times = {n: s * unit for n, s in measure(labels, classes, threads).items()}
            best = min(times[n] for n in PEERS if n in times)
            rows.append({"case": name, "threads": threads, **times, "ratio": best / times["faces"]})
            print(name, threads, {k: round(v, 2) for k, v in times.items()}, flush=True)
    return rows


def balls(batch, size):
    """Labels (batch, 1, *space): one ball an image, and logits of two classes."""
    labels = np.stack(
        [blobs((size,) * 3, 2, seed=seed, count=1, radius=(0.08, 0.16)) for seed in range(batch)]
    )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 2, size, size, size, generator=generator).requires_grad_()
    return logits, torch.from_numpy(labels).long()[:, None]


def losses(threads):
    """Milliseconds of forward and backward on 2 x 2 x 96^3, foreground only; ours agrees with MONAI's."""
    torch.set_num_threads(threads)
    logits, labels = balls(2, 96)
    monai = {"to_onehot_y": True, "softmax": True, "include_background": False}
    works = {
        "BoundaryLoss": BoundaryLoss(),
        "MONAI BoundaryLoss": MonaiBoundaryLoss(**monai),
        "MONAI HausdorffDTLoss": HausdorffDTLoss(**monai),
        "MONAI DiceCELoss": DiceCELoss(to_onehot_y=True, softmax=True),
    }
    ours, theirs = (
        BoundaryLoss(contour="centers")(logits, labels),
        works["MONAI BoundaryLoss"](logits, labels),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

    def step(loss):
        logits.grad = None
        loss(logits, labels).backward()

    times = in_turn({name: lambda loss=loss: step(loss) for name, loss in works.items()}, seconds=3)
    return {"case": "2 x 2 x 96^3", "threads": threads, **{n: 1e3 * s for n, s in times.items()}}


def growth():
    """Nanoseconds per voxel, one thread, as the size doubles; a diagonal has no row without its object."""
    torch.set_num_threads(1)
    cases = {f"{n}^2 thin diagonal": np.eye(n, dtype=np.uint8) for n in (256, 512, 1024, 2048)}
    for n in (64, 128, 256, 512):
        cases[f"{n}^3 blobs"] = blobs((n, n, n), 2, seed=7)
    rows = []
    for name, labels in cases.items():
        tensor = torch.from_numpy(labels[None])
        seconds = in_turn({"ours": lambda tensor=tensor: signed_distance_map(tensor, 2)}, seconds=0.5)
        rows.append({"case": name, "ns": 1e9 * seconds["ours"] / labels.size})
        print(rows[-1], flush=True)
    return rows


def beyond_output(shape):
    """Bytes a voxel that a call takes at its peak beyond the output, in this (new) process."""
    torch.set_num_threads(1)
    labels = torch.zeros(1, *shape, dtype=torch.uint8)
    labels[(0, *(slice(n // 3, n // 2) for n in shape))] = 1
    signed_distance_map(labels[(slice(None), *[slice(8)] * len(shape))], 2)
    out = torch.zeros(1, 1, *shape)  # as large as the output: what follows comes on top
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del out
    signed_distance_map(labels, 2)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / labels.numel()


def memory():
    """Peak memory of one class beyond its output."""
    rows = []
    for shape in ((8192, 8192), (512, 512, 512)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append({"case": " x ".join(map(str, shape)), "bytes": pool.apply(beyond_output, (shape,))})
    return rows


def show(title, rows, columns, ratio=None):
    """One table, as docs/concepts/speed.md has it."""
    names = [name for name in ("case", "threads") if name in rows[0]]
    table = Table(*names, *columns, *([ratio] if ratio else []), title=title)
    for row in rows:
        cells = [str(row[name]) for name in names]
        cells += [f"{row[c]:.2f}" if c in row else "-" for c in columns]
        table.add_row(*cells, *([f"{row['ratio']:.0f} x"] if ratio else []))
    Console(width=150).print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help="only the maps of cases whose name contains this")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    options = parser.parse_args()
    threads = sorted(set(options.threads))
    rows = run(options.case, threads)
    ours = ["faces", "centers", *(f"faces, {level}" for level in OLDER), "floor"]
    show("maps, ns per voxel and foreground class", rows, [*ours, *PEERS], "ratio")
    for kind in ("", "lesions"):
        ratios = [row["ratio"] for row in rows if row["threads"] == threads[0] and kind in row["case"]]
        if ratios:
            print(
                f"{kind or 'all cases'}, {threads[0]} thread(s): {statistics.median(ratios):.0f} times the "
                f"best in the median, {min(ratios):.0f} to {max(ratios):.0f}"
            )
    if options.case:
        return
    figures = {
        "rows": rows,
        "losses": [losses(n) for n in threads],
        "growth": growth(),
        "memory": memory(),
    }
    names = [name for name in figures["losses"][0] if name not in ("case", "threads")]
    show("losses, ms forward and backward", figures["losses"], names)
    show("growth, ns per voxel", figures["growth"], ["ns"])
    show("peak memory beyond the output, bytes per voxel", figures["memory"], ["bytes"])
    save(f"{cpu_name()} {max(threads)} threads", PACKAGES, {"machine": cpu_name(), **figures})


def cpu_name():
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
