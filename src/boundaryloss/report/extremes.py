"""The cases on which two methods differ most, in pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from boundaryloss.files import UserError
from boundaryloss.report.plots import case_dice, case_picture
from boundaryloss.report.results import Method, Results

SHOWN = 2  # cases on either end
MARGIN, SMALLEST = 12, 96  # pixels around what a picture shows, and its least side


def extreme_cases(
    results: Results, pair: tuple[Method, Method], label: int, images: Mapping[str, np.ndarray]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the cases with the largest gain and with the largest loss of Dice."""
    before, after = (case_dice(method, label) for method in pair)
    gain = after - before
    order = [i for i in np.argsort(gain) if np.isfinite(gain[i])]
    ends = (
        ("largest gains", [i for i in order[::-1] if gain[i] > 0][:SHOWN]),
        ("largest losses", [i for i in order if gain[i] < 0][:SHOWN]),
    )
    index = results.facts.labels.index(label) + 1
    shown = []
    for title, chosen in ends:
        cases = []
        for i in chosen:
            name = results.cases[i]
            masks = [images[f"truth/{name}"] == index, *(method.planes[name] == index for method in pair)]
            planes = [images[f"image/{name}"], *masks]
            if len({plane.shape for plane in planes}) > 1 or planes[0].ndim != 2:
                raise UserError(
                    f"{results.out}: the pictures of {name} do not fit together; run the comparison again"
                )
            window = _window(masks)
            image, truth, *predictions = (plane[window] for plane in planes)
            cases.append(
                {
                    "name": name,
                    "dice": [before[i], after[i]],
                    "first": [method.columns[label].dice[0, i] for method in pair],
                    "pictures": [case_picture(image, truth, p) for p in predictions],
                }
            )
        shown.append((title, cases))
    return shown


def _window(masks: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Return a square that holds every object, or the whole plane."""
    rows, columns = np.nonzero(np.any(masks, axis=0))
    height, width = masks[0].shape
    side = max(np.ptp(rows), np.ptp(columns)) + 2 * MARGIN if len(rows) else SMALLEST
    side = min(max(int(side), SMALLEST), height, width)
    if len(rows) and max(np.ptp(rows), np.ptp(columns)) >= side:
        return slice(0, height), slice(0, width)
    corner = [
        min(max((int(places.min() + places.max()) - side) // 2, 0), size - side) if len(places) else 0
        for places, size in ((rows, height), (columns, width))
    ]
    return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)
