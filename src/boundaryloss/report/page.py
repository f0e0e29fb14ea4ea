"""Runs -> report.html, one file that needs no network, and its tables."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from boundaryloss.files import atomic_write
from boundaryloss.report import epochs, lesion_plots, plots
from boundaryloss.report.arrays import StoredArrays, stored_in
from boundaryloss.report.extremes import extreme_cases
from boundaryloss.report.findings import Finding, many, number, sentences, signed, spread
from boundaryloss.report.results import CONTOURS, HD95, MEASURES, Measure, Method, Results
from boundaryloss.report.sizes import SizeFinding, compare_by_size
from boundaryloss.report.statistics import ratio
from boundaryloss.report.svg import share_images
from boundaryloss.report.tables import write_tables

MOST_DRAWN = 20  # pairs with figures; the numbers of all are on the page
MOST_OPEN = 6  # pairs whose sections are open from the start


def write_report(results: Results, findings: Sequence[Finding]) -> Path:
    """Write report.html, summary.csv and tables/ of a comparison, beside its runs.

    Raises:
        UserError: a picture is damaged, or a file cannot be written.
    """
    names = [f"{kind}/{case}" for case in results.cases for kind in ("image", "truth")]
    images = StoredArrays(stored_in(results.out / "images.npz", names))
    sizes, figures = compare_by_size(results), epochs.in_figures(results.methods)
    labels = results.facts.labels
    dice = "Dice on the validation share" if results.facts.seeds else "nnU-Net's pseudo Dice, on patches"
    pairs = [_pair(results, pair, findings, sizes, label) for label in labels for pair in results.pairs]
    for pair in pairs[:MOST_DRAWN]:
        pair["figures"] = _figures(results, pair, images)
    page = _template().render(
        facts=results.facts,
        results=results,
        methods=results.methods,
        measures=(*MEASURES, HD95),
        contour=CONTOURS[results.contour],
        units=len(set(results.units)),
        grouped=len(set(results.units)) < len(results.cases),
        comparisons=len(findings),
        tables=[_table(results, label) for label in labels],
        pairs=pairs,
        said=_said(pairs),
        open="open" if len(pairs) <= MOST_OPEN else "",
        most_drawn=MOST_DRAWN,
        most_lines=plots.MOST_LINES,
        learning=[drawn for methods in figures if (drawn := epochs.learning_curves(methods, dice))],
        left_out=len(results.methods) - sum(map(len, figures)),
        balance=[drawn for methods in figures if (drawn := epochs.balance(methods))],
        machines=_machines(results),
    )
    write_tables(results, findings, sizes)
    path = results.out / "report.html"
    with atomic_write(path, "report") as file:
        file.write(share_images(page).encode())
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


def _pair(
    results: Results,
    pair: tuple[Method, Method],
    findings: Sequence[Finding],
    sizes: Sequence[SizeFinding],
    label: int,
) -> dict[str, Any]:
    """Collect what the page says of one pair and class; a later one has no figures."""
    of_pair = [f for f in findings if (f.label, f.method) == (label, pair[1].name)]
    by_size = [f for f in sizes if (f.label, f.method) == (label, pair[1].name)]
    return {
        "label": label,
        "baseline": pair[0],
        "method": pair[1],
        "findings": of_pair,
        "sentences": sentences(of_pair, results.repeated),
        "sizes": [[*group] for _, group in itertools.groupby(by_size, lambda finding: finding.size)],
        "figures": None,
    }


def _said(pairs: Sequence[dict[str, Any]]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """Return what is said, and of which pairs: once, if it is the same of several."""
    said: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for pair in pairs:
        said.setdefault(tuple(pair["sentences"]), []).append(pair)
    return [([*sentences_of], alike) for sentences_of, alike in said.items()]


def _figures(results: Results, shown: dict[str, Any], images: StoredArrays) -> dict[str, Any]:
    """Draw all that the page draws of one pair and class."""
    pair, label = (shown["baseline"], shown["method"]), shown["label"]
    with_sizes = bool(shown["sizes"])
    return {
        "bars": [plots.difference_bar(finding) for finding in shown["findings"]],
        "curve": plots.operating_curve(results, pair, label) if len(results.thresholds) > 1 else "",
        "scatter": plots.scatter(results, pair, label),
        "sensitivity_by_size": lesion_plots.sensitivity_by_size(results, pair, label) if with_sizes else "",
        "dice_by_size": lesion_plots.dice_by_size(results, pair, label) if with_sizes else "",
        "cases": extreme_cases(results, pair, label, images),
    }


def _table(results: Results, label: int) -> dict[str, Any]:
    """Collect the results of one class."""
    measures = (*MEASURES, HD95)
    return {
        "label": label,
        "rows": [
            (method, [_cell(method, measure, label) for measure in measures]) for method in results.methods
        ],
        "with_truth": int((results.methods[0].columns[label].lesions[0] > 0).sum()),
    }


def _cell(method: Method, measure: Measure, label: int) -> dict[str, Any]:
    terms = measure.of(method.columns[label])
    values = ratio(terms)
    return {
        "mean": number(values.mean(), measure.digits),
        "spread": number(spread(values), measure.digits) if np.isfinite(values).all() else "",
        "cases": f"{terms[1].sum(axis=-1).mean():.0f}" if measure is HD95 else "",
    }


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
