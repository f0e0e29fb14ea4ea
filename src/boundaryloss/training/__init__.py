"""All of it at work: data, network, loop and metrics."""

from boundaryloss.extras import require

require(
    "train",
    __name__,
    "lightning",
    "monai",
    "nibabel",
    "numpy",
    "PIL",
    "pydantic",
    "scipy",
    "tensorboard",
    "tomli_w",
)
