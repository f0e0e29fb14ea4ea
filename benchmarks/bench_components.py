"""Connected components on the CPU beside the peers', and what balanced lesions cost a step of the log form.

    pip install connected-components-3d
    python benchmarks/bench_components.py

The shortest of many calls, in milliseconds, the callers in turn. Our labels are int32 under the first voxel's
number; those of the peers are theirs. `map` is `signed_distance_map` of the same labels; `term` is
`LogBoundaryLoss`, forward and backward, without and with `balance_lesions`.
"""

import time

import cc3d
import cv2
import numpy as np
import scipy.ndimage
import torch
from record import save

from boundaryloss import LogBoundaryLoss, signed_distance_map
from boundaryloss.distance import op

PACKAGES = ("boundaryloss", "torch", "numpy", "scipy", "connected-components-3d", "opencv-python-headless")
SECONDS = 1.5  # for each caller


def lesions(shape, count, radius, *, seed):
    """Labels of a few balls in every image."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    grid = np.ogrid[tuple(slice(n) for n in shape[1:])]
    for image in labels:
        for _ in range(count):
            centre, size = [rng.uniform(0, n) for n in shape[1:]], rng.uniform(0.5, radius)
            image[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= size**2] = 1
    return labels


def dense(side, *, seed):
    """Two classes that fill the volume but for a third of it."""
    noise = np.random.default_rng(seed).standard_normal((side,) * 3)
    smooth = scipy.ndimage.gaussian_filter(noise, side / 40)
    return np.digitize(smooth, np.quantile(smooth, [1 / 3, 2 / 3])).astype(np.uint8)[None]


def cases():
    return {
        "8 x 256^2, 12 lesions each": lesions((8, 256, 256), 12, 6, seed=0),
        "4 x 96^2, 3 lesions each": lesions((4, 96, 96), 3, 5, seed=1),
        "128^3, 30 lesions": lesions((1, 128, 128, 128), 30, 4, seed=2),
        "96^3, 2 dense classes": dense(96, seed=3),
    }


def by_scipy(masks):
    ones = np.ones((3,) * masks[0].ndim)
    return [scipy.ndimage.label(mask, ones)[0] for mask in masks]


def by_cc3d(masks):
    return [cc3d.connected_components(mask, connectivity=26 if mask.ndim == 3 else 8) for mask in masks]


def by_opencv(masks):
    return [cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1] for mask in masks]


def same(ours, theirs):
    """Whether two labellings have the same components."""
    pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]).astype(np.int64), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def shortest(callers):
    best, spent = dict.fromkeys(callers, float("inf")), 0.0
    for call in callers.values():
        call()
    while spent < SECONDS * len(callers):
        for name, call in callers.items():
            start = time.perf_counter()
            call()
            took = time.perf_counter() - start
            best[name], spent = min(best[name], took), spent + took
    return {name: round(1e3 * seconds, 4) for name, seconds in best.items()}


def step(loss, logits, labels):
    loss(logits, labels).backward()
    logits.grad = None


def measure(labels):
    torch_labels, classes = torch.from_numpy(labels), int(labels.max()) + 1
    inside = torch.stack([torch_labels == c for c in range(1, classes)], 1)
    masks = [np.ascontiguousarray(mask) for mask in inside.flatten(0, 1).numpy()]
    logits = torch.randn(len(labels), classes, *labels.shape[1:]).requires_grad_()
    peers = {"scipy": by_scipy, "cc3d": by_cc3d} | ({"opencv": by_opencv} if labels.ndim == 3 else {})
    ours = op.components(inside).flatten(0, 1).numpy()
    for peer in peers.values():
        assert all(same(*pair) for pair in zip(ours, peer(masks), strict=True))
    maps = {
        "map": lambda: signed_distance_map(torch_labels, classes),
        "components": lambda: op.components(inside),
        **{name: lambda peer=peer: peer(masks) for name, peer in peers.items()},
    }
    losses = {"term": LogBoundaryLoss(), "balanced": LogBoundaryLoss(balance_lesions=True)}
    terms = {name: lambda loss=loss: step(loss, logits, torch_labels) for name, loss in losses.items()}
    return shortest(maps) | shortest(terms)


def main():
    torch.manual_seed(0)
    figures = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        figures[f"{threads} threads"] = {name: measure(labels) for name, labels in cases().items()}
        for name, times in figures[f"{threads} threads"].items():
            told = ", ".join(f"{caller} {milliseconds:.3g}" for caller, milliseconds in times.items())
            print(f"{threads} threads, {name}: {told}", flush=True)
    save("components", PACKAGES, figures)


if __name__ == "__main__":
    main()
