"""The lesions of one case, one by one: found, missed and false."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from boundaryloss.metrics import contour_distances
from boundaryloss.report.store import Contour, LesionScores, Outcome
from boundaryloss.scoring.objects import Object, boxes_of, checked_options, compare_objects, union


def lesion_metrics(
    prediction: Any,
    truth: Any,
    objects: Mapping[int, Sequence[int]] | None = None,
    *,
    spacing: float | Sequence[float],
    name: str = "",
    contour: Contour = "faces",
    ignore: int | None = None,
) -> list[LesionScores]:
    """Compare each lesion of one case with what was predicted of it.

    Lesions are connected components; diagonal neighbours connect. A lesion matches every predicted component
    that shares a voxel with it, and is compared with all of these together, each as a whole:

    - Two components in one lesion count as one prediction of it.
    - A component over two lesions is compared with each of them, so that both have a low Dice and a large
      HD95; `other_lesions` counts it.
    - A component that shares no voxel with any lesion is a false lesion, and has a row of its own.

    This is the rule of `lesions_found` and `false_lesions` in `CaseScores`. The mean of `dice` over all rows
    is a lesion-wise Dice: misses and false lesions count 0.

    Args:
        prediction: As in `case_metrics`, like all arguments.
        truth: Labels of the same shape.
        objects: What is judged.
        spacing: Size of a voxel in mm.
        name: Name of the case, for the rows.
        contour: Where contours run.
        ignore: The label of true voxels that nobody labelled.

    Returns:
        One row per true lesion, then one per false lesion, object by object, in the order of their first
        voxels. The columns are listed under `LesionScores`.

    Raises:
        ValueError: As `case_metrics`.
        TypeError: As `case_metrics`.

    Example:
        One lesion is found, but for one of its 4 voxels; a second one is missed:

        >>> import numpy as np
        >>> truth = np.array([[1, 1, 1, 1, 0, 0, 1, 0, 0, 0]])
        >>> prediction = np.array([[0, 1, 1, 1, 0, 0, 0, 0, 1, 0]])
        >>> rows = lesion_metrics(prediction, truth, spacing=1.0)
        >>> [(row.outcome, row.voxel, round(row.dice, 3), row.hd95_mm) for row in rows]
        [('found', '0 0', 0.857, 1.0), ('missed', '0 6', 0.0, nan), ('false', '0 8', 0.0, nan)]
    """
    checked_options(0.0, contour)
    return [
        row
        for one in compare_objects(prediction, truth, objects, spacing, ignore)
        for row in lesion_rows(one, name, contour)
    ]


def lesion_rows(
    one: Object, name: str, contour: Contour, hd95: float | None = None
) -> Iterator[LesionScores]:
    """Yield the rows of one object's lesions; `hd95` is that of the object, which an only lesion has, too."""
    sides = one.lesions, one.predicted
    boxes, components = map(boxes_of, sides)
    sizes, predicted = (np.bincount(numbers.ravel()).tolist() for numbers in sides)
    of_lesion: dict[int, list[int]] = {}
    of_component: dict[int, list[int]] = {}
    for lesion, component in one.pairs.tolist():
        of_lesion.setdefault(lesion, []).append(component)
        of_component.setdefault(component, []).append(lesion)

    def row(number: int, outcome: Outcome, place: str, truth: int, prediction: int, **scores: Any) -> Any:
        return LesionScores(
            name=name,
            label=one.label,
            lesion=number,
            outcome=outcome,
            voxel=place,
            truth_voxels=truth,
            prediction_voxels=prediction,
            **one.sizes(truth, prediction),
            **{"components": 0, "other_lesions": 0, "dice": 0.0, "hd95_mm": float("nan"), **scores},
            contour=contour,
        )

    for lesion, box in enumerate(boxes, start=1):
        place = _first(one, one.lesions, lesion, box)
        matched = of_lesion.get(lesion, [])
        if not matched:
            yield row(lesion, "missed", place, sizes[lesion], 0)
            continue
        size = sum(predicted[component] for component in matched)
        box = union([box, *(components[component - 1] for component in matched)])
        truth, prediction = one.lesions[box] == lesion, np.isin(one.predicted[box], matched)
        if hd95 is None or len(boxes) + len(components) > 2:
            masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
            distance = contour_distances(*masks, spacing=one.spacing, contour=contour).hd95.item()
        else:
            distance = hd95
        yield row(
            lesion,
            "found",
            place,
            sizes[lesion],
            size,
            components=len(matched),
            other_lesions=len({other for component in matched for other in of_component[component]}) - 1,
            dice=2 * int((prediction & truth).sum()) / (sizes[lesion] + size),
            hd95_mm=distance,
        )
    false = (component for component in range(1, len(predicted)) if component not in of_component)
    for number, component in enumerate(false, start=len(sizes)):
        place = _first(one, one.predicted, component, components[component - 1])
        yield row(number, "false", place, 0, predicted[component])


def _first(one: Object, numbers: np.ndarray, number: int, box: tuple[slice, ...]) -> str:
    """Return where in the image the first voxel with a number is."""
    inside = numbers[box] == number
    place = np.unravel_index(inside.argmax(), inside.shape)
    starts = (side.start for side in box)
    return " ".join(str(sum(parts)) for parts in zip(place, starts, one.corner, strict=True))
