"""Prediction x truth -> scores: of one case, of all of them, at every threshold, of two folders.

The names are loaded at first use: `evaluate` looks at its folders before it loads anything heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from boundaryloss.extras import require

require("train", __name__, "numpy", "scipy")

if TYPE_CHECKING:
    from boundaryloss.report.store import CaseScores, LabelScores, LesionScores, OperatingPoint
    from boundaryloss.scoring.cases import case_metrics, score_case
    from boundaryloss.scoring.folders import evaluate
    from boundaryloss.scoring.judge import in_processes
    from boundaryloss.scoring.lesions import lesion_metrics
    from boundaryloss.scoring.objects import objects_of, without_unlabelled
    from boundaryloss.scoring.pairs import Pair
    from boundaryloss.scoring.summary import summarise
    from boundaryloss.scoring.thresholds import THRESHOLDS, operating_points

__all__ = [
    "THRESHOLDS",
    "CaseScores",
    "LabelScores",
    "LesionScores",
    "OperatingPoint",
    "Pair",
    "case_metrics",
    "evaluate",
    "in_processes",
    "lesion_metrics",
    "objects_of",
    "operating_points",
    "score_case",
    "summarise",
    "without_unlabelled",
]

_HOMES = {
    "report.store": ("CaseScores", "LabelScores", "LesionScores", "OperatingPoint"),
    "scoring.cases": ("case_metrics", "score_case"),
    "scoring.folders": ("evaluate",),
    "scoring.judge": ("in_processes",),
    "scoring.lesions": ("lesion_metrics",),
    "scoring.objects": ("objects_of", "without_unlabelled"),
    "scoring.pairs": ("Pair",),
    "scoring.summary": ("summarise",),
    "scoring.thresholds": ("THRESHOLDS", "operating_points"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"boundaryloss.{home}"), name)
    raise AttributeError(f"module 'boundaryloss.scoring' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
