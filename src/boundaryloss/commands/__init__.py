"""What the command does besides training."""

from boundaryloss.extras import require

require("train", __name__, "matplotlib", "monai", "nibabel", "numpy", "rich", "scipy", "tifffile")
