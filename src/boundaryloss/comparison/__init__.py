"""An experiment file -> runs, and what a report needs of them."""

from boundaryloss.extras import require

require("train", __name__, "numpy")
