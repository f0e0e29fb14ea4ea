"""Bytes <-> arrays, whole or not at all; what lies where in a data set; what a user has to change."""

import sys

from boundaryloss.extras import require

require("train", __name__, "filelock", "imagecodecs", "nibabel", "numpy", "PIL", "tifffile")
if sys.version_info < (3, 11):
    require("train", __name__, "tomli")

from boundaryloss.files.dataset_json import Description, read_description
from boundaryloss.files.directories import (
    check_free,
    check_new,
    check_run,
    holds_json,
    locked,
    prepare_directory,
)
from boundaryloss.files.errors import UserError, reading
from boundaryloss.files.groups import EACH, check_pattern, group_names
from boundaryloss.files.labels import IGNORE, check_label_values, class_indices, fullest_slice, looks_void
from boundaryloss.files.layouts import Case, Layout, find_images, find_labels, list_files, read_layout
from boundaryloss.files.names import check_names
from boundaryloss.files.nifti import is_nifti, nifti_bytes, read_affine, same_grid
from boundaryloss.files.rasters import TIFF
from boundaryloss.files.read import (
    checked_spacing,
    read_image,
    read_label_map,
    read_labels,
    read_raw,
    scale_image,
    scaled_by_type,
    stem,
)
from boundaryloss.files.splits import is_names, read_split
from boundaryloss.files.text import is_file, read_json, read_toml
from boundaryloss.files.write import atomic_write, make_folder, write_csv, write_labels

__all__ = [
    "EACH",
    "IGNORE",
    "TIFF",
    "Case",
    "Description",
    "Layout",
    "UserError",
    "atomic_write",
    "check_free",
    "check_label_values",
    "check_names",
    "check_new",
    "check_pattern",
    "check_run",
    "checked_spacing",
    "class_indices",
    "find_images",
    "find_labels",
    "fullest_slice",
    "group_names",
    "holds_json",
    "is_file",
    "is_names",
    "is_nifti",
    "list_files",
    "locked",
    "looks_void",
    "make_folder",
    "nifti_bytes",
    "prepare_directory",
    "read_affine",
    "read_description",
    "read_image",
    "read_json",
    "read_label_map",
    "read_labels",
    "read_layout",
    "read_raw",
    "read_split",
    "read_toml",
    "reading",
    "same_grid",
    "scale_image",
    "scaled_by_type",
    "stem",
    "write_csv",
    "write_labels",
]
