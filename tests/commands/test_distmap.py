from unittest.mock import patch

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from boundaryloss.commands.actions.distmap import write_distance_map
from boundaryloss.files.errors import UserError
from boundaryloss.files.nifti import same_grid
from boundaryloss.files.write import write_labels


@pytest.fixture
def labels(tmp_path):
    classes = np.zeros((16, 24), int)
    classes[4:9, 6:12] = 1
    classes[12, 20] = 2
    write_labels(tmp_path / "labels.png", classes, (0, 3, 255))
    return tmp_path / "labels.png"


@pytest.fixture
def undrawn(monkeypatch):
    """A picture takes two seconds."""
    monkeypatch.setattr(
        "boundaryloss.commands.actions.distmap.draw_distance_map", lambda file, *_: file.write(b"picture")
    )


def test_write_distance_map_tiff_and_picture(labels, tmp_path):
    picture = write_distance_map(labels, tmp_path / "map.tif")
    maps = tifffile.imread(tmp_path / "map.tif")
    assert (maps.shape, maps.dtype) == ((2, 16, 24), np.float32)
    assert (maps[0, 6, 8], maps[0, 6, 5], maps[1, 12, 20], maps[1, 12, 15]) == (-2.5, 0.5, -0.5, 4.5)
    assert picture == tmp_path / "map.png"
    pixels = np.array(Image.open(picture))
    assert min(pixels.shape[:2]) > 300 and pixels.std() > 20


def test_write_distance_map_pixel_convention_and_one_label(labels, tmp_path, undrawn):
    write_distance_map(labels, tmp_path / "map.tif", contour="centers", keep=[255])
    phi = tifffile.imread(tmp_path / "map.tif")
    assert phi.shape == (16, 24)
    assert (phi[12, 20], phi[12, 15]) == (0, 5)


def test_write_distance_map_never_overwrites_the_labels(labels, tmp_path, undrawn):
    before = labels.read_bytes()
    assert write_distance_map(labels, tmp_path / "labels.nii.gz") == tmp_path / "labels_map.png"
    assert labels.read_bytes() == before


@pytest.mark.parametrize("name", ["labels.nii.gz", "map.tif", "map.png", "link.tif"])
def test_write_distance_map_overwrites_nothing(labels, tmp_path, name):
    write_labels(tmp_path / "image.png", np.eye(9, dtype=int))
    volume = np.zeros((5, 6, 4), np.uint8)
    volume[2, 3, 2] = 1
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "labels.nii.gz")
    (tmp_path / "map.tif").write_bytes(b"mine") if name == "map.tif" else None
    (tmp_path / "map.png").write_bytes(b"mine") if name == "map.png" else None
    (tmp_path / "link.tif").symlink_to(tmp_path / "nowhere")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.exists()}
    out = tmp_path / ("map.tif" if name == "map.png" else name)
    source = tmp_path / "labels.nii.gz" if name == "labels.nii.gz" else labels
    with pytest.raises(UserError, match=f"{name} is there already"):
        write_distance_map(source, out)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.exists()} == before


def test_write_distance_map_leaves_nothing_half_written(labels, tmp_path, undrawn):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot make the folder"):
        write_distance_map(labels, tmp_path / "file/map.tif")
    (tmp_path / "out").mkdir()
    full = patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    with full, pytest.raises(UserError, match=r"cannot write the distance map .*No space"):
        write_distance_map(labels, tmp_path / "out/map.tif")
    assert not list((tmp_path / "out").iterdir())


def test_write_distance_map_draws_the_largest_of_many_labels(tmp_path, monkeypatch):
    monkeypatch.setattr("boundaryloss.commands.actions.distmap.PANELS", 2)
    classes = np.zeros((12, 12), int)
    for label in range(1, 8):
        classes[label, : label % 4 + 1] = label
    write_labels(tmp_path / "labels.png", classes)
    with patch("boundaryloss.commands.actions.distmap._draw_panel") as panel:
        write_distance_map(tmp_path / "labels.png", tmp_path / "map.tif")
    assert tifffile.imread(tmp_path / "map.tif").shape == (7, 12, 12)
    masks = [call.args[2] for call in panel.call_args_list]
    assert [set(classes[mask]) for mask in masks] == [{3}, {7}]


def test_write_distance_map_refuses_a_grey_picture_and_takes_a_threshold(tmp_path, undrawn):
    grey = np.arange(900).reshape(30, 30) % 256
    write_labels(tmp_path / "labels.png", grey)
    with pytest.raises(UserError, match="threshold = 127"):
        write_distance_map(tmp_path / "labels.png", tmp_path / "map.tif")
    write_distance_map(tmp_path / "labels.png", tmp_path / "map.tif", threshold=127)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "map.tif") < 0, grey > 127)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (1, 9, 8), (9, 8, 5)])
@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_write_distance_map_nifti_lies_where_the_labels_lie(tmp_path, undrawn, shape, labels, suffix):
    array = np.zeros(shape, np.uint8)
    array.ravel()[30 : 30 + labels] = range(1, 1 + labels)
    image = nibabel.Nifti1Image(array, np.diag([-10, 20, 30, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "labels.nii")
    out = tmp_path / f"map{suffix}"
    write_distance_map(tmp_path / "labels.nii", out)
    same_grid(out, tmp_path / "labels.nii")
    phi = np.asarray(nibabel.load(out).dataobj)
    assert phi.shape == (shape if labels == 1 else (*(*shape, 1)[:3], 2))
    steps = [step for step, n in zip((0.01, 0.02, 0.03), shape, strict=False) if n > 1]
    assert phi.min() == pytest.approx(-min(steps) / 2)


def test_write_distance_map_nifti_volume_keeps_place_and_spacing(tmp_path, undrawn):
    volume = np.zeros((10, 12, 6), np.uint8)
    volume[5, 6, 3] = 1
    affine = np.array([[2.0, 0, 0, -7], [0, 0.5, 0, 3], [0, 0, 4, 1], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "labels.nii.gz")
    write_distance_map(tmp_path / "labels.nii.gz", tmp_path / "map.nii.gz")
    written = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(written.affine, affine)
    phi = written.get_fdata()
    assert phi.shape == volume.shape
    assert (phi[5, 6, 3], phi[7, 6, 3], phi[5, 6, 4], phi[5, 8, 3]) == (-0.25, 3.0, 2.0, 0.75)


def test_write_distance_map_errors_say_what_to_do(labels, tmp_path):
    with pytest.raises(UserError, match=r"\.nii\.gz or \.tif"):
        write_distance_map(labels, tmp_path / "map.jpg")
    with pytest.raises(UserError, match="no label 9"):
        write_distance_map(labels, tmp_path / "map.tif", keep=[9])
    with pytest.raises(UserError, match="'faces'"):
        write_distance_map(labels, tmp_path / "map.tif", contour="centers", spacing=(1, 2))
    write_labels(tmp_path / "empty.png", np.zeros((5, 5), int))
    with pytest.raises(UserError, match="no boundary"):
        write_distance_map(tmp_path / "empty.png", tmp_path / "map.tif")
    with pytest.raises(UserError, match="no such file"):
        write_distance_map(tmp_path / "nowhere.png", tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()
