import io

import numpy as np
import pytest
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.files.labels import check_label_values, fullest_slice, looks_void

TEETH = {10 * quarter + tooth for quarter in range(1, 5) for tooth in range(1, 9)}
SUBCORTICAL = {10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58}
ASEG = {*range(2, 6), 7, 8, *range(10, 19), 24, 26, 28, 30, 31, *range(41, 48), *range(49, 55)} | {
    58, 60, 62, 63, 72, 77, 80, 85,
}  # fmt: skip
DISC = np.hypot(*(np.mgrid[:128, :128] - 60)) < 27
HEIGHT = np.exp(-((np.mgrid[:64, :64] - 30) ** 2).sum(0) / 200)


@pytest.mark.parametrize(
    "values",
    [
        {0},
        {0, 255},
        {0, 1, 255},
        {0, 128, 255},
        {0, 85, 170, 255},
        {29, 76, 149},
        {0, 1, 2, 4},
        {*range(36)},
        {*range(118)},
        {*range(151)},
        {*range(151), 255},
        TEETH,
        TEETH | {255},
        {*range(34), 255},
        {1, 2, 4, 255},
        {50, 100, 150, 200, 250},
        {205, 420, 500, 550, 600, 820, 850},
        {2, 3, 41, 42},
        {17, 53},
        SUBCORTICAL,
        ASEG,
        {1000 + 7 * i for i in range(100)},
    ],
)
def test_check_label_values_takes_classes(values):
    check_label_values(values, "masks")


def _jpeg(quality):
    stream = io.BytesIO()
    Image.fromarray(DISC.astype(np.uint8) * 255).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def _resized(side, filter):
    return np.array(Image.fromarray(DISC.astype(np.uint8) * 255).resize((side, side), filter))


GREY = {
    "few": [0, 3, 17, 255],
    "more": [0, 3, 17, 90, 200, 255],
    "all": range(256),
    "half": _resized(64, Image.Resampling.BOX),
    "quarter": _resized(32, Image.Resampling.BOX),
    "bilinear": _resized(50, Image.Resampling.BILINEAR),
    "enlarged": _resized(200, Image.Resampling.BILINEAR),
    "lanczos": _resized(60, Image.Resampling.LANCZOS),
    "jpeg 95": _jpeg(95),
    "jpeg 30": _jpeg(30),
    "probability": HEIGHT * 255,
    "no certainty": HEIGHT * 230,
    "16 bit": _resized(50, Image.Resampling.BILINEAR).astype(int) * 257,
}


@pytest.mark.parametrize("name", GREY)
def test_check_label_values_refuses_grey_and_suggests_a_threshold(name):
    values = {*np.unique(np.asarray(GREY[name]).astype(int)).tolist()}
    with pytest.raises(UserError, match=f"^masks: .* grey .* threshold = {max(values) // 2} "):
        check_label_values(values, "masks")


def test_check_label_values_refuses_numbered_objects():
    with pytest.raises(UserError, match=r"1000 different values .* objects are numbered .* threshold = 0"):
        check_label_values(range(1001), "masks")


@pytest.mark.parametrize(
    ("values", "void"),
    [({0, 1, 255}, True), ({*range(21), 255}, True), ({0, 255}, False), ({0, 128, 255}, False)],
)
def test_looks_void_is_255_beside_small_numbers(values, void):
    assert looks_void(values) is void


def test_fullest_slice_counts_voxels_and_not_label_values():
    labels = np.zeros((4, 4, 3), np.uint8)
    labels[0, 0, 0], labels[1, :3, 2] = 200, 1
    assert fullest_slice(labels) == 2
