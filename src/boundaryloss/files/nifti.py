"""NIfTI files: their arrays, and the one place that says where their voxels lie.

Lengths are in mm: a header in micron or metre is converted here, one without a unit is taken to mean mm.
"""

import gzip
import itertools
import math
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from boundaryloss.files.errors import UserError, reading

MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # by the header's code: unknown, metre, mm, micron
GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
ROUNDING = 1e-4  # relative, of lengths in a header: float32, or four digits
# Of a voxel. Two programs that write one grid differ by less (float32, quaternions) at the far end of
# hundreds of voxels; a shift that a distance between contours would show is larger.
TOLERANCE = 0.05


def is_nifti(path: Path) -> bool:
    """Tell whether a file has an affine."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path, *, labels: bool = False) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read a slice or a volume, (*space) or with channels (C, *space), and its spacing in mm.

    A volume that is one voxel thick is a slice, whichever axis is the thin one. Channels are the axis behind
    the first three that is longer than one: the fourth (Decathlon) or the fifth (ITK's vectors).

    Raises:
        UserError: the file is damaged, its header contradicts itself, or it has more axes.
    """
    with reading(path):
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)  # to the end, so that the checksum is looked at
        header = _header(content, path)
        shape = header.get_data_shape()
        declared = header.get_data_offset() + math.prod(shape) * header.get_data_dtype().itemsize
        if len(content) != declared:
            raise UserError(
                f"{path}: has {len(content)} bytes, but its header declares {declared} "
                f"(shape {shape}); write it again"
            )
        array = header.data_from_fileobj(BytesIO(content))
    space, channels = _space(shape), [axis for axis in range(3, len(shape)) if shape[axis] > 1]
    if len(space) < 2 or len(channels) > (0 if labels else 1):
        wanted = "a mask is a 2-D slice or a 3-D volume" if labels else "write one slice or volume per file"
        raise UserError(f"{path}: shape {shape}; {wanted}")
    array = array.squeeze(tuple(set(range(len(shape))) - {*space, *channels}))
    steps = _geometry(header, path)[1]
    return np.moveaxis(array, -1, 0) if channels else array, tuple(steps[axis] for axis in space)


def read_affine(path: Path) -> np.ndarray:
    """Read the 4 x 4 matrix from voxel indices of a NIfTI file to mm.

    It is the sform, else the qform, else the size of a voxel; a form that is singular or not finite is
    passed over if there is another.

    Raises:
        UserError: no form can be used, or it contradicts the size of a voxel in the header.
    """
    return _geometry(_read_header(path), path)[0]


def same_grid(path: Path, other: Path) -> None:
    """Make sure that the voxels of two NIfTI files lie in the same place, those of slices too.

    Without an affine (PNG, TIFF) there is nothing to compare.

    Raises:
        UserError: they have another number of voxels, or a voxel lies off by `TOLERANCE` of a voxel or more.
    """
    if not (is_nifti(path) and is_nifti(other)):
        return
    grids = []
    for file in (path, other):
        header = _read_header(file)
        grids.append((_grid(header), _geometry(header, file)[0]))
    (shape, affine), (other_shape, other_affine) = grids
    if shape != other_shape:
        raise UserError(f"{path}: {_size(shape)} voxels, but {other} has {_size(other_shape)}; resample it")
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    moved = np.linalg.solve(affine, other_affine @ corners.T) - corners.T
    if (off := np.abs(moved).max()) >= TOLERANCE:
        raise UserError(
            f"{path}: its affine is not that of {other} (a corner lies {off:.3g} voxels off); "
            "resample one onto the grid of the other"
        )


def nifti_bytes(array: np.ndarray, like: Path) -> bytes:
    """Return an array, (*space) or (*space, C), as a NIfTI file on the grid of the file `like`.

    What says where the voxels lie is copied: both forms, the size of a voxel and its unit.
    """
    import nibabel

    source = _read_header(like)
    shape = source.get_data_shape()[:3]
    if channels := array.shape[len(_space(shape)) :]:
        shape = (*_grid(source), *channels)
    header = type(source)()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(shape)
    for field in GEOMETRY:
        header[field] = source[field]
    header["pixdim"][4:] = 1
    kind: Any = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image  # pyright: ignore[reportPrivateImportUsage]
    return kind(array.reshape(shape), None, header).to_bytes()


def _read_header(path: Path) -> Any:
    with reading(path), (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        return _header(file.read(1024), path)


def _header(content: bytes, path: Path) -> Any:
    """Read the header of a file as it is: nibabel's own checks would put 1 for a voxel size of 0."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    for kind in (Nifti1Header, Nifti2Header):
        size = kind.sizeof_hdr
        if size in (int.from_bytes(content[:4], order) for order in ("little", "big")):
            header = kind(content[:size], check=False)
            if header["magic"].item() != kind.single_magic:
                break
            if min(header.get_data_shape(), default=0) < 1:
                raise UserError(f"{path}: shape {header.get_data_shape()} in the header; write it again")
            return header
    raise UserError(f"{path}: has no NIfTI header; write it as .nii or .nii.gz")


def _space(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of a file that a slice or volume has: without the last thin one of three."""
    axes = range(min(len(shape), 3))
    thin = [axis for axis in axes if shape[axis] == 1][-1:] if len(shape) >= 3 else []
    return tuple(axis for axis in axes if axis not in thin)


def _grid(header: Any) -> tuple[int, ...]:
    return (*header.get_data_shape(), 1, 1)[:3]


def _geometry(header: Any, path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the affine and the size of a voxel along the first three axes, both in mm; they must agree."""
    unit = int(header["xyzt_units"]) % 8
    if unit not in MILLIMETRES:
        raise UserError(f"{path}: unit {unit} in the header (xyzt_units); write 2, which is mm")
    with np.errstate(all="ignore"):  # absurd numbers end as infinite ones
        steps = header["pixdim"][1 : 1 + min(len(header.get_data_shape()), 3)].astype(float)
        spacing, affine = _digits(steps * MILLIMETRES[unit]), _affine(header, path)
        lengths = np.linalg.norm(affine[:3, : len(steps)], axis=0)
    if not all(0 < step < math.inf for step in spacing):
        raise UserError(
            f"{path}: spacing {_digits(steps)} in the header (pixdim); write the size of a voxel there"
        )
    if not np.allclose(lengths, steps, rtol=ROUNDING, atol=0):
        raise UserError(
            f"{path}: voxels of {_digits(steps)} by the header's pixdim, but of {_digits(lengths)} "
            "by its affine; write the right one in both"
        )
    affine[:3] *= MILLIMETRES[unit]
    return affine, spacing


def _affine(header: Any, path: Path) -> np.ndarray:
    """Return the first form that can be used, in the unit of the header."""
    if abs(header["pixdim"][0]) != 1:
        header["pixdim"][0] = 1  # what the standard makes of it
    forms = {"sform": header.get_sform, "qform": header.get_qform}
    forms = {name: form for name, form in forms.items() if header[f"{name}_code"] != 0}
    for form in (forms or {"size of a voxel": header.get_base_affine}).values():
        with suppress(ValueError):  # no rotation: HeaderDataError and the quaternion's own
            affine = np.array(form(), dtype=float)
            if np.isfinite(affine).all() and _invertible(affine[:3, :3]):
                return affine
    raise UserError(
        f"{path}: the {' and the '.join(forms)} in the header cannot be inverted or is not finite, "
        "so nobody knows where its voxels lie; write an affine"
    )


def _invertible(edges: np.ndarray) -> bool:
    return abs(np.linalg.det(edges)) > ROUNDING * np.linalg.norm(edges, axis=0).prod()


def _digits(lengths: np.ndarray) -> tuple[float, ...]:
    """Round away the digits that are float32's alone: .8, not .800000011920929."""
    return tuple(float(str(np.float32(length))) for length in lengths)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
