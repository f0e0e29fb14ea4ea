import gzip
import os

import nibabel
import numpy as np
import pytest

from boundaryloss.files.errors import UserError
from boundaryloss.files.nifti import read_affine, same_grid
from boundaryloss.files.read import read_image, read_label_map, read_labels, read_raw
from boundaryloss.files.write import write_labels

AFFINE = np.array([[0, 0.5, 0, -7], [-2, 0, 0, 3], [0, 0, 4, 1], [0, 0, 0, 1.0]])
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])


def write(path, array, affine=AFFINE, unit="mm", kind=nibabel.Nifti1Image, **fields):
    image = kind(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units(unit)
    content = image.to_bytes()
    size = image.header.sizeof_hdr
    header = type(image.header)(content[:size], check=False)  # nibabel would put some of the fields right
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + content[size:]
    path.write_bytes(gzip.compress(content) if path.name.endswith("gz") else content)
    return path


def cube(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 3, shape).astype(dtype)


def test_read_image_takes_a_type_for_storage_only(tmp_path):
    # The Decathlon's hippocampus has volumes of 8 bits beside others of floats.
    values = np.random.default_rng(0).integers(0, 90, (6, 7, 8))
    few, many = (
        read_image(write(tmp_path / f"{kind}.nii.gz", values.astype(kind)))[0] for kind in ("u1", "f4")
    )
    assert (few == many).all() and few.max() == 1


@pytest.mark.parametrize(
    ("shape", "read", "spacing"),
    [
        ((4, 5), (1, 4, 5), (2.0, 0.5)),
        ((4, 5, 1), (1, 4, 5), (2.0, 0.5)),
        ((1, 4, 5), (1, 4, 5), (0.5, 4.0)),
        ((4, 1, 5), (1, 4, 5), (2.0, 4.0)),
        ((4, 5, 1, 3), (3, 4, 5), (2.0, 0.5)),
        ((4, 5, 1, 1, 3), (3, 4, 5), (2.0, 0.5)),
        ((4, 5, 6), (1, 4, 5, 6), (2.0, 0.5, 4.0)),
        ((4, 5, 6, 1), (1, 4, 5, 6), (2.0, 0.5, 4.0)),
        ((4, 5, 6, 3), (3, 4, 5, 6), (2.0, 0.5, 4.0)),
        ((4, 5, 6, 1, 3), (3, 4, 5, 6), (2.0, 0.5, 4.0)),
    ],
)
def test_read_raw_and_write_labels_on_the_axes_of_the_file(tmp_path, shape, read, spacing):
    array = cube(*shape)
    path = write(tmp_path / "image.nii.gz", array)
    image, steps = read_raw(path)
    assert (image.shape, steps) == (read, spacing)
    expected = np.moveaxis(array.reshape(*read[1:], -1), -1, 0)
    np.testing.assert_array_equal(image, expected)

    write_labels(tmp_path / "labels.nii.gz", image[0].astype(np.uint8), like=path)
    written = nibabel.load(tmp_path / "labels.nii.gz")
    assert written.shape == shape[:3]
    np.testing.assert_array_equal(written.affine, nibabel.load(path).affine)
    same_grid(tmp_path / "labels.nii.gz", path)
    labels, steps = read_label_map(tmp_path / "labels.nii.gz")
    assert steps == spacing
    np.testing.assert_array_equal(labels, image[0])


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5, 2, 2), (3, 4, 1, 2, 1, 2)])
def test_read_raw_refuses_other_axes(tmp_path, shape):
    with pytest.raises(UserError, match=r"a\.nii: shape .*one slice or volume per file"):
        read_raw(write(tmp_path / "a.nii", cube(*shape)))


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4, 5, 1, 2), (4, 5, 6, 1, 2), (9,)])
def test_read_labels_refuses_channels(tmp_path, shape):
    with pytest.raises(UserError, match="a mask is a 2-D slice or a 3-D volume"):
        read_labels(write(tmp_path / "a.nii", cube(*shape)))


@pytest.mark.parametrize(("unit", "factor"), [("unknown", 1), ("mm", 1), ("micron", 1e-3), ("meter", 1e3)])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6)])
def test_geometry_is_in_mm_whatever_the_unit(tmp_path, unit, factor, shape):
    path = write(tmp_path / "a.nii.gz", cube(*shape), unit=unit)
    steps = (2.0, 0.5, 4.0)[: len(shape)]
    assert read_label_map(path)[1] == pytest.approx([step * factor for step in steps], rel=1e-7)
    expected = AFFINE.copy()
    expected[:3] *= factor
    np.testing.assert_allclose(read_affine(path), expected, rtol=1e-12)
    millimetres = write(tmp_path / "mm.nii", cube(*shape), affine=expected)
    same_grid(path, millimetres)
    write_labels(tmp_path / "b.nii.gz", cube(*shape), like=path)
    same_grid(tmp_path / "b.nii.gz", millimetres)
    assert nibabel.load(tmp_path / "b.nii.gz").header.get_xyzt_units()[0] == unit


def test_read_raw_refuses_an_unknown_unit(tmp_path):
    with pytest.raises(UserError, match=r"a\.nii: unit 5"):
        read_raw(write(tmp_path / "a.nii", cube(4, 5), xyzt_units=5))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 6)])
def test_geometry_refuses_pixdim_that_differs_from_the_affine(tmp_path, shape):
    path = write(tmp_path / "a.nii.gz", cube(*shape), pixdim=[1, 2, 0.7, 4, 1, 1, 1, 1])
    for read in (read_raw, read_labels, read_affine):
        with pytest.raises(
            UserError, match=r"a\.nii\.gz: voxels of \(2\.0, 0\.7.* but of \(2\.0, 0\.5"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_geometry_allows_rounding_in_float32(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = TURN @ np.diag([0.1, 0.2, 0.7])
    path = write(tmp_path / "a.nii", cube(4, 5, 6), affine)
    assert read_raw(path)[1] == (0.1, 0.2, 0.7)


BAD = [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), np.inf), np.ones((4, 4))]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 6)])
def test_geometry_refuses_an_affine_that_cannot_be_inverted(tmp_path, bad, shape):
    rows = {f"srow_{axis}": bad[i] for i, axis in enumerate("xyz")}
    path = write(tmp_path / "a.nii", cube(*shape), qform_code=0, **rows)
    for read in (read_raw, read_labels, read_affine):
        with pytest.raises(UserError, match=r"a\.nii: the sform in the header"):
            read(path)


@pytest.mark.parametrize("bad", BAD)
def test_read_affine_takes_the_qform_where_the_sform_is_bad(tmp_path, bad):
    rows = {f"srow_{axis}": bad[i] for i, axis in enumerate("xyz")}
    path = write(tmp_path / "a.nii", cube(4, 5, 6), qform_code=1, **rows)
    np.testing.assert_allclose(read_affine(path), AFFINE, atol=1e-6)
    assert read_raw(path)[1] == (2.0, 0.5, 4.0)


@pytest.mark.parametrize("size", [0, -1, np.nan, np.inf])
def test_geometry_refuses_a_voxel_without_size(tmp_path, size):
    path = write(tmp_path / "a.nii", cube(4, 5, 6), pixdim=[1, 2, size, 4, 1, 1, 1, 1])
    for read in (read_raw, read_labels, read_affine):
        with pytest.raises(UserError, match=r"a\.nii: spacing \(2\.0"):
            read(path)


def shifted(affine, *by):
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ by
    return moved


@pytest.mark.parametrize("unit", ["mm", "micron"])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (1, 40, 50), (40, 50, 6)])
def test_same_grid_measures_in_parts_of_a_voxel(tmp_path, shape, unit):
    path = write(tmp_path / "a.nii", cube(*shape), unit=unit)
    other = tmp_path / "b.nii"
    same_grid(path, write(other, cube(*shape), shifted(AFFINE, 0.01, 0.01, 0.01), unit=unit))
    flipped = AFFINE @ np.diag([-1, 1, 1, 1]) if shape[0] > 1 else AFFINE @ np.diag([1, -1, 1, 1])
    for wrong in (
        shifted(AFFINE, 0, 0.1, 0),
        shifted(AFFINE, 0, 0, 1),
        AFFINE @ np.diag([2, 2, 1, 1]),
        flipped,
    ):
        with pytest.raises(UserError, match=r"a\.nii: its affine is not that of .*b\.nii .*resample"):
            same_grid(path, write(other, cube(*shape), wrong, unit=unit))
    with pytest.raises(UserError, match=r"a\.nii: its affine"):
        same_grid(path, write(other, cube(*shape), unit="meter"))
    with pytest.raises(UserError, match=r"a\.nii: .* voxels, but .*b\.nii has"):
        same_grid(path, write(other, cube(39, *shape[1:]), unit=unit))


def test_same_grid_has_nothing_to_compare_in_pictures(tmp_path):
    write_labels(tmp_path / "a.png", cube(4, 5))
    same_grid(tmp_path / "a.png", write(tmp_path / "b.nii", cube(4, 5)))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 3, 4), 0.5, np.float32), "not integers, 0.5"),
        (np.full((2, 3, 4), 2.99, np.float64), "not integers, 2.99"),
        (np.full((2, 3, 4), np.nan, np.float32), "NaN"),
        (np.full((2, 3, 4), -1, np.int16), "from -1 to -1"),
        (np.full((2, 3, 4), 65536, np.int64), "65536"),
        (np.full((2, 3, 4), 2**63, np.uint64), "from 9223372036854775808"),
        (np.full((2, 3, 4), 1e30, np.float32), r"from 1\.\d+e\+30"),
        (np.full((2, 3, 4), 1 + 2j, np.complex64), "values of type complex64"),
        (np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "values of type"),
    ],
)
def test_read_labels_names_what_is_no_label(tmp_path, array, words):
    with pytest.raises(UserError, match=rf"a\.nii\.gz: .*{words}") as caught:
        read_labels(write(tmp_path / "a.nii.gz", array))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.int64, np.uint64, ">i2", np.float32, ">f8"]
)
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_read_labels_takes_integers_of_any_type(tmp_path, dtype, kind):
    labels = cube(4, 5, 6)
    path = write(tmp_path / "a.nii.gz", labels.astype(dtype), kind=kind)
    read = read_labels(path)
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)
    write_labels(tmp_path / "b.nii.gz", labels, like=path)
    np.testing.assert_array_equal(read_labels(tmp_path / "b.nii.gz"), labels)


def test_read_labels_rounds_what_floating_point_lost(tmp_path):
    path = write(tmp_path / "a.nii", np.full((4, 5, 6), 2.9999999993))
    assert set(read_labels(path).ravel()) == {3}
    scaled = write(tmp_path / "b.nii", 255 * cube(4, 5, 6).clip(max=1), scl_slope=1 / 255, scl_inter=0)
    np.testing.assert_array_equal(read_labels(scaled), cube(4, 5, 6).clip(max=1))


def test_read_labels_with_a_threshold(tmp_path):
    values = np.linspace(-3, 3, 120).reshape(4, 5, 6)
    read = read_labels(write(tmp_path / "a.nii", values), threshold=0.5)
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, values > 0.5)
    with pytest.raises(UserError, match="NaN"):
        read_labels(write(tmp_path / "a.nii", values * np.nan), threshold=0.5)


def _wrong_checksum(content):
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


@pytest.mark.parametrize(
    "damage",
    [
        _wrong_checksum,
        lambda content: content + b"garbage",
        lambda content: content + gzip.compress(b"garbage"),
        lambda content: content[:-20],
        lambda content: content[:-4],
        lambda content: content[:30],
        lambda content: gzip.decompress(content),
        lambda content: b"",
        lambda content: gzip.compress(gzip.decompress(content)[:-1]),
        lambda content: gzip.compress(gzip.decompress(content)[:200]),
        lambda content: gzip.compress(b"ni1".join(gzip.decompress(content).split(b"n+1"))),
    ],
)
def test_read_raw_refuses_a_damaged_archive(tmp_path, damage):
    path = write(tmp_path / "a.nii.gz", cube(9, 8, 7))
    path.write_bytes(damage(path.read_bytes()))
    for read in (read_raw, read_labels):
        with pytest.raises(UserError, match=r"a\.nii\.gz: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.tif"])
def test_reading_refuses_what_is_no_file(tmp_path, name):
    path = tmp_path / name
    functions = (read_raw, read_labels, *([read_affine] if "nii" in name else []))
    for make, remove, words in (
        (lambda: None, lambda: None, "no such file"),
        (path.mkdir, path.rmdir, "no regular file"),
        (lambda: os.mkfifo(path), path.unlink, "no regular file"),
        (lambda: path.symlink_to("/dev/zero"), path.unlink, "no regular file"),
    ):
        make()
        for read in functions:
            with pytest.raises(UserError, match=f"{name}: .*{words}"):
                read(path)
        remove()


def test_write_labels_refuses_what_would_be_clipped(tmp_path):
    for classes, values in (
        ([[0, 2]], (0, 1)),
        ([[0, -1]], (0, 1)),
        ([[0, 1]], (0, 65536)),
        ([[0, 1]], (-1, 3)),
    ):
        with pytest.raises(ValueError, match="label values"):
            write_labels(tmp_path / "a.png", np.array(classes), values)
    assert not list(tmp_path.iterdir())
