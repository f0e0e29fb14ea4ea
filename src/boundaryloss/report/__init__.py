"""Runs on disk -> tables and figures. Nothing here trains, or needs torch."""

from boundaryloss.extras import require

require("train", __name__, "jinja2", "matplotlib", "numpy", "rich", "scipy")
