import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from boundaryloss.training.distmap import write_distance_map
from boundaryloss.training.errors import UserError
from boundaryloss.training.files import write_labels


@pytest.fixture
def labels(tmp_path):
    classes = np.zeros((16, 24), int)
    classes[4:9, 6:12] = 1
    classes[12, 20] = 2
    write_labels(tmp_path / "labels.png", classes, (0, 3, 255))
    return tmp_path / "labels.png"


def test_write_distance_map_tiff_and_picture(labels, tmp_path):
    picture = write_distance_map(labels, tmp_path / "map.tif")
    maps = tifffile.imread(tmp_path / "map.tif")
    assert (maps.shape, maps.dtype) == ((2, 16, 24), np.float32)
    assert (maps[0, 6, 8], maps[0, 6, 5], maps[1, 12, 20], maps[1, 12, 15]) == (-2.5, 0.5, -0.5, 4.5)
    assert picture == tmp_path / "map.png"
    pixels = np.array(Image.open(picture))
    assert min(pixels.shape[:2]) > 300 and pixels.std() > 20


def test_write_distance_map_pixel_convention_and_one_label(labels, tmp_path):
    write_distance_map(labels, tmp_path / "map.tif", boundary="pixel", keep=[255])
    phi = tifffile.imread(tmp_path / "map.tif")
    assert phi.shape == (16, 24)
    assert (phi[12, 20], phi[12, 15]) == (0, 5)


def test_write_distance_map_never_overwrites_the_labels(labels, tmp_path):
    before = labels.read_bytes()
    assert write_distance_map(labels, tmp_path / "labels.nii.gz") == tmp_path / "labels_map.png"
    assert labels.read_bytes() == before


def test_write_distance_map_nifti_volume_keeps_place_and_spacing(tmp_path):
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
    with pytest.raises(UserError, match="'interface'"):
        write_distance_map(labels, tmp_path / "map.tif", boundary="pixel", spacing=(1, 2))
    write_labels(tmp_path / "empty.png", np.zeros((5, 5), int))
    with pytest.raises(UserError, match="no boundary"):
        write_distance_map(tmp_path / "empty.png", tmp_path / "map.tif")
    with pytest.raises(UserError, match="no such file"):
        write_distance_map(tmp_path / "nowhere.png", tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()
