"""The boundary loss for highly unbalanced segmentation, with exact distance maps on the fly.

The names below follow the flow: labels -> signed distance map -> loss -> weighting. They are loaded
at first use, so that `import boundaryloss` and the command's `--help` are instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boundaryloss import metrics
    from boundaryloss.distance import distance_transform, signed_distance_map
    from boundaryloss.losses import BoundaryLoss, LogBoundaryLoss, RegionBoundaryLoss, boundary_loss
    from boundaryloss.schedules import Constant, GradientRatio, Increase, Rebalance

__all__ = [
    "BoundaryLoss",
    "Constant",
    "GradientRatio",
    "Increase",
    "LogBoundaryLoss",
    "Rebalance",
    "RegionBoundaryLoss",
    "boundary_loss",
    "distance_transform",
    "metrics",
    "signed_distance_map",
]

_HOMES = {
    "distance": ("signed_distance_map", "distance_transform"),
    "losses": ("boundary_loss", "BoundaryLoss", "LogBoundaryLoss", "RegionBoundaryLoss"),
    "schedules": ("Constant", "Increase", "Rebalance", "GradientRatio"),
}


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return import_module("boundaryloss.metrics")
    if name == "__version__":
        return import_module("importlib.metadata").version("boundaryloss")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"boundaryloss.{home}"), name)
    raise AttributeError(f"module 'boundaryloss' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
