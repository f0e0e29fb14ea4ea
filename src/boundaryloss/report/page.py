"""Runs -> report.html, one file that needs no network, and summary.csv."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from boundaryloss.report import plots
from boundaryloss.report.findings import (
    Finding,
    many,
    number,
    sentences,
    signed,
    spread,
    write_summary,
)
from boundaryloss.report.results import (
    CONTOURS,
    HD95,
    MEASURES,
    Measure,
    Method,
    Results,
    read_arrays,
)
from boundaryloss.report.statistics import ratio

SHOWN = 2  # cases on either end
MARGIN, SMALLEST = 12, 96  # pixels around what a picture shows, and its least side


def write_report(results: Results, findings: Sequence[Finding]) -> Path:
    """Write summary.csv and report.html of a comparison, beside its runs."""
    write_summary(results.out / "summary.csv", results, findings)
    images = read_arrays(results.out / "images.npz")
    page = _template().render(
        facts=results.facts,
        results=results,
        methods=results.methods,
        measures=(*MEASURES, HD95),
        contour=CONTOURS[results.contour],
        units=len(set(results.units)),
        grouped=len(set(results.units)) < len(results.cases),
        comparisons=len(findings),
        labels=[_label(results, findings, label, images) for label in results.facts.labels],
        learning=plots.learning_curves(results),
        balance=plots.balance(results),
        machines=_machines(results),
    )
    path = results.out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = signed
    environment.filters["many"] = many
    return environment.get_template("report.html.jinja")


def _label(
    results: Results, findings: Sequence[Finding], label: int, images: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Collect all that the page shows of one class."""
    findings = [finding for finding in findings if finding.label == label]
    return {
        "value": label,
        "rows": [
            (method, [_cell(method, m, label) for m in (*MEASURES, HD95)]) for method in results.methods
        ],
        "with_truth": int((results.methods[0].columns[label].lesions[0] > 0).sum()),
        "pairs": [
            _pair(results, pair, [f for f in findings if f.method == pair[1].name], label, images)
            for pair in results.pairs
        ],
    }


def _pair(
    results: Results,
    pair: tuple[Method, Method],
    findings: Sequence[Finding],
    label: int,
    images: dict[str, np.ndarray],
) -> dict[str, Any]:
    return {
        "baseline": pair[0],
        "method": pair[1],
        "findings": [(finding, plots.difference_bar(finding)) for finding in findings],
        "sentences": sentences(findings, results.repeated),
        "curve": plots.operating_curve(results, pair, label) if len(results.thresholds) > 1 else "",
        "scatter": plots.scatter(results, pair, label),
        "cases": _cases(results, pair, label, images),
    }


def _cell(method: Method, measure: Measure, label: int) -> dict[str, Any]:
    terms = measure.of(method.columns[label])
    values = ratio(terms)
    return {
        "mean": number(values.mean(), measure.digits),
        "spread": number(spread(values), measure.digits) if np.isfinite(values).all() else "",
        "cases": f"{terms[1].sum(axis=-1).mean():.0f}" if measure is HD95 else "",
    }


def _cases(
    results: Results, pair: tuple[Method, Method], label: int, images: dict[str, np.ndarray]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the cases with the largest gain and with the largest loss of Dice."""
    before, after = (plots.case_dice(method, label) for method in pair)
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
            window = _window(masks)
            image, truth, *predictions = (array[window] for array in (images[f"image/{name}"], *masks))
            cases.append(
                {
                    "name": name,
                    "dice": [before[i], after[i]],
                    "first": [method.columns[label].dice[0, i] for method in pair],
                    "pictures": [plots.case_picture(image, truth, p) for p in predictions],
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


def _machines(results: Results) -> dict[str, Any]:
    """Collect what ran the runs, as far as known: every machine and set of versions once, the time in all."""
    runs = [run for method in results.methods for run in method.runs]
    seconds = [run.seconds for run in runs if run.seconds is not None]
    finished = [run.finished for run in runs if run.finished]
    return {
        "hardware": sorted({run.hardware for run in runs} - {""}),
        "versions": sorted({", ".join(f"{k} {v}" for k, v in run.versions.items()) for run in runs}),
        "minutes": sum(seconds) / 60 if len(seconds) == len(runs) else None,
        "first": min(finished, default=""),
        "last": max(finished, default=""),
        "count": len(runs),
    }
