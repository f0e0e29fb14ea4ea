"""Distances between contours beside the peers: the same numbers first, then time and memory.

    python benchmarks/bench_metrics.py [--case NAME ...]

Every peer gives what it has of HD95, ASSD and NSD, on one thread; ours gives all metrics of one call, on
faces, and on the contour of the peer. Ours and a peer run by turns, so that other work on the machine weighs
on both; times are the least processor seconds. Memory is the peak beyond the input.
MeshMetrics and surface-distance measure to other contours than MONAI: each is held against its own.
"""

import argparse
import multiprocessing
import platform
import resource
import time
import warnings
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from record import save
from scipy import ndimage

from boundaryloss.metrics import contour_distances

PACKAGES = ("boundaryloss", "torch", "scipy", "monai", "medpy", "surface-distance", "pymeshmetrics")


def smooth_noise(shape, sigma, seed):
    """Noise of standard deviation 1, coarse and then enlarged."""
    coarse = np.random.default_rng(seed).standard_normal([max(n // 8, 4) for n in shape])
    coarse = ndimage.gaussian_filter(coarse, sigma)
    return ndimage.zoom(coarse / coarse.std(), np.divide(shape, coarse.shape), order=1)


def ball(shape, wobble, seed):
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    radius = np.sqrt(sum((g - n / 2) ** 2 for g, n in zip(grid, shape, strict=True)))
    return (radius + wobble * smooth_noise(shape, 1.0, seed) < min(shape) * 0.3).astype(np.uint8)


def knee(shape, wobble, seed):
    """Two bones and the cartilage of one of them."""
    z, y, x = np.ix_(*(np.linspace(-1, 1, n) for n in shape))
    noise = 0.1 * smooth_noise(shape, 2.0, 0) + wobble * smooth_noise(shape, 1.0, seed)
    femur = ((z + 0.55) / 0.5) ** 2 + (y / 0.6) ** 2 + (x / 0.8) ** 2 + noise
    tibia = ((z - 0.6) / 0.45) ** 2 + (y / 0.6) ** 2 + (x / 0.8) ** 2 + noise
    labels = np.zeros(shape, np.uint8)
    labels[femur < 1], labels[tibia < 1] = 1, 2
    labels[(femur >= 1) & (femur < 1.2) & (z > -0.45)] = 3
    return labels


def cases():
    """Name -> function to (prediction, truth, classes, spacing)."""
    cube, scan = (128, 128, 128), (384, 384, 160)
    return {
        "128^3": lambda: (ball(cube, 1.5, 2), ball(cube, 0, 1), 2, (1.0, 1.0, 1.0)),
        "knee-like": lambda: (knee(scan, 0.04, 2), knee(scan, 0, 1), 4, (0.36, 0.36, 0.7)),
    }


def ours(prediction, truth, classes, spacing, contour="faces"):
    prediction, truth = (torch.from_numpy(labels)[None] for labels in (prediction, truth))
    found = contour_distances(prediction, truth, num_classes=classes, spacing=spacing, contour=contour)
    pooled = found.hd95_pooled[0].tolist()
    return np.array([found.hd95[0].tolist(), found.assd[0].tolist(), found.nsd[0].tolist(), pooled])


def monai(prediction, truth, classes, spacing):
    masks = [
        torch.stack([torch.from_numpy(m == c) for c in range(1, classes)])[None] for m in (prediction, truth)
    ]
    options = {"include_background": True, "spacing": list(spacing)}
    hd95 = compute_hausdorff_distance(*masks, percentile=95, **options)
    assd = compute_average_surface_distance(*masks, symmetric=True, **options)
    nsd = compute_surface_dice(*masks, class_thresholds=[1.0] * (classes - 1), **options)
    return np.array([of[0].tolist() for of in (hd95, assd, nsd)])


def each_class(measure):
    def of_all(prediction, truth, classes, spacing):
        return np.transpose([measure(prediction == c, truth == c, spacing) for c in range(1, classes)])

    return of_all


@each_class
def medpy(prediction, truth, spacing):
    from medpy.metric import binary

    return binary.hd95(prediction, truth, spacing), binary.assd(prediction, truth, spacing)


@each_class
def surface_distance(prediction, truth, spacing):
    """As published, but for names that NumPy 2 and SciPy 1.15 have dropped and for a sort of an iterator."""
    setattr(np, "Inf", np.inf)  # noqa: B010
    ndimage.filters = SimpleNamespace(correlate=ndimage.correlate)
    ndimage.morphology = SimpleNamespace(distance_transform_edt=ndimage.distance_transform_edt)
    from surface_distance import metrics

    metrics._sort_distances_surfels = lambda d, a: np.array(sorted(zip(d, a, strict=True))).T
    found = metrics.compute_surface_distances(truth, prediction, spacing)
    nsd = metrics.compute_surface_dice_at_tolerance(found, 1.0)
    return metrics.compute_robust_hausdorff(found, 95), nsd


@each_class
def meshmetrics(prediction, truth, spacing):
    from meshmetrics import DistanceMetrics

    metrics = DistanceMetrics(verbose=False)
    metrics.set_input(truth, prediction, spacing=spacing)
    return metrics.hd(95), metrics.assd(), metrics.nsd(1.0)


# Peer -> (function, package, contour and rows of ours that are to equal its rows)
PEERS = {
    "MONAI": (monai, "monai", "centers", (0, 1, 2)),
    "MedPy": (medpy, "medpy", "centers", (3, 1)),
    "surface-distance": (surface_distance, "surface_distance", "surfels", (0, 2)),
    "MeshMetrics": (meshmetrics, "vtk", None, ()),
}


LONG = 2.0  # seconds: what takes longer runs once
TURNS = 6


def _in_turn(functions, arguments, answer):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results, seconds = {}, {name: [] for name in functions}
    for _ in range(TURNS):
        for name, function in functions.items():
            if max(seconds[name], default=0) > LONG:
                continue
            start = time.process_time()
            results[name] = function(*arguments)
            seconds[name].append(time.process_time() - start)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answer.put((results, {name: min(taken) for name, taken in seconds.items()}, memory))


def in_turn(functions, *arguments):
    """Run functions by turns in a process of their own.

    Returns their results, the least processor seconds of each, and the peak of memory in MiB.
    """
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=_in_turn, args=(functions, arguments, answer))
    process.start()
    result = answer.get()
    process.join()
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", nargs="*", choices=cases(), default=list(cases()))
    chosen = parser.parse_args().case
    figures = {}
    for name in chosen:
        case = cases()[name]()
        _, seconds, memory = in_turn({"ours": ours}, *case)
        row = figures[name] = {"ours_s": round(seconds["ours"], 4), "ours_MiB": round(memory, 1)}
        print(f"{name}: ours {seconds['ours']:.4f} s, {memory:.0f} MiB")
        for peer, (function, package, contour, rows) in PEERS.items():
            if find_spec(package) is None:
                print(f"  {peer}: not installed")
                continue
            alike = partial(ours, contour=contour or "faces")
            results, seconds, memory = in_turn({"ours": ours, "alike": alike, "theirs": function}, *case)
            if contour:
                found = results["alike"][list(rows)]
                np.testing.assert_allclose(found, results["theirs"], rtol=1e-5, atol=1e-5)
            row[peer] = {
                "s": round(seconds["theirs"], 3),
                "MiB": round(memory, 1),
                "ours_s": round(seconds["ours"], 4),
                "ratio": round(seconds["theirs"] / seconds["ours"], 1),
                "ratio_on_its_contour": round(seconds["theirs"] / seconds["alike"], 1),
            }
            print(f"  {peer}: {row[peer]}", flush=True)
    save(f"metrics {platform.machine()}", PACKAGES, {"processor_seconds_on_one_thread": figures})


if __name__ == "__main__":
    main()
