import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from datasets import task
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.files.layouts import find_images
from boundaryloss.files.read import read_image, read_labels
from boundaryloss.files.write import write_labels
from boundaryloss.training.data.cases import find_cases
from boundaryloss.training.data.slices import Slices, collate

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".png"):
        Image.fromarray(array).save(path)
    elif path.name.endswith(".tif"):
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.5, 2.0, 1.0, 1.0])), path)
    return path


def folder(path, names, shape=(20, 24), suffix=".png"):
    rng = np.random.default_rng(0)
    for name in names:
        save(path / "images" / f"{name}{suffix}", rng.integers(0, 256, shape).astype(np.uint8))
        mask = np.zeros(shape, np.uint8)
        mask[3:6, 4:8] = 255
        save(path / "masks" / f"{name}{suffix}", mask)
    return path


def names(cases):
    return [case.name for case in cases]


PATIENTS = [f"p{patient:02d}_z{z}" for patient in range(10) for z in range(3)]


def test_find_cases_splits_by_train_and_test_prefix(tmp_path):
    cases = find_cases(folder(tmp_path, ["train_1", "train_2", "test_1"]))
    assert (names(cases.train), names(cases.test)) == (["train_1", "train_2"], ["test_1"])
    assert (cases.label_values, cases.num_classes) == ((0, 255), 2)
    assert (cases.channels, cases.spacing) == (1, (1.0, 1.0))


def test_find_cases_random_split_keeps_patients_together_and_repeats(tmp_path):
    folder(tmp_path, PATIENTS)
    cases = find_cases(tmp_path, seed=3)
    train, test = ({cases.patients[case.name] for case in part} for part in (cases.train, cases.test))
    assert not train & test
    assert (len(train), len(test)) == (8, 2)
    assert sorted(names(cases.train) + names(cases.test)) == PATIENTS
    assert find_cases(tmp_path, seed=3) == cases
    assert any(find_cases(tmp_path, seed=seed).test != cases.test for seed in range(5))


def test_find_cases_random_split_of_one_common_word_splits_the_cases(tmp_path):
    cases = find_cases(folder(tmp_path, [f"slice_{i}" for i in range(10)]))
    assert (len(cases.train), len(cases.test)) == (8, 2)


def test_find_cases_test_prefix_goes_before_everything(tmp_path):
    folder(tmp_path, PATIENTS)
    (tmp_path / "splits.json").write_text(json.dumps({"train": PATIENTS[:1], "test": PATIENTS[1:2]}))
    assert names(find_cases(tmp_path, test_prefix=["p03_", "p04_"]).test) == PATIENTS[9:15]
    assert names(find_cases(tmp_path).test) == PATIENTS[1:2]
    with pytest.raises(UserError, match="'p77_'"):
        find_cases(tmp_path, test_prefix="p77_")


def test_find_cases_keeps_the_labels_asked_for(tmp_path):
    folder(tmp_path, ["train_1", "test_1"])
    save(tmp_path / "masks" / "train_1.png", (np.arange(480) % 5).astype(np.uint8).reshape(20, 24))
    assert find_cases(tmp_path).label_values == (0, 1, 2, 3, 4, 255)
    cases = find_cases(tmp_path, labels=[4, 2])
    item = Slices.from_cases(cases.train, task(cases.label_values))[0]
    assert cases.label_values == (0, 4, 2)
    assert item["labels"].unique().tolist() == [0, 1, 2]
    assert (item["labels"] == 1).sum() == 96
    with pytest.raises(UserError, match="no label 9"):
        find_cases(tmp_path, labels=[9])


def test_find_cases_takes_spacing_from_nifti_or_from_the_caller(tmp_path):
    folder(tmp_path, ["train_1", "test_1"], suffix=".nii.gz")
    assert find_cases(tmp_path).spacing == (0.5, 2.0)
    assert find_cases(tmp_path, spacing=(1, 3)).spacing == (1.0, 3.0)
    with pytest.raises(UserError, match="spacing"):
        find_cases(tmp_path, spacing=(1, float("nan")))


def test_find_cases_pairs_files_of_different_formats(tmp_path):
    folder(tmp_path, ["train_1", "test_1"])
    (tmp_path / "masks" / "train_1.png").unlink()
    save(tmp_path / "masks" / "train_1.tif", np.eye(20, 24, dtype=np.uint8))
    assert find_cases(tmp_path).label_values == (0, 1, 255)


def _lone_image(path):
    (path / "masks" / "test_1.png").unlink()


def _lone_mask(path):
    (path / "images" / "test_1.png").unlink()


def _truncated(path):
    file = path / "images" / "test_1.png"
    file.write_bytes(file.read_bytes()[:200])


def _no_png(path):
    (path / "masks" / "test_1.png").write_bytes(b"this is no picture")


def _other_size(path):
    save(path / "masks" / "test_1.png", np.ones((20, 25), np.uint8))


def _other_channels(path):
    save(path / "images" / "test_1.png", np.ones((20, 24, 3), np.uint8))


def _colour_mask(path):
    save(path / "masks" / "test_1.png", np.arange(1440, dtype=np.uint16).astype(np.uint8).reshape(20, 24, 3))


def _unknown_format(path):
    (path / "images" / "test_1.bmp").write_bytes(b"")


def _same_name(path):
    save(path / "images" / "test_1.tif", np.ones((20, 24), np.uint8))


def _fractions(path):
    (path / "masks" / "test_1.png").unlink()
    save(path / "masks" / "test_1.tif", np.full((20, 24), 0.5, np.float32))


def _volume(path):
    (path / "images" / "test_1.png").unlink()
    save(path / "images" / "test_1.nii.gz", np.ones((20, 24, 5), np.float32))


def _nan(path):
    (path / "images" / "test_1.png").unlink()
    save(path / "images" / "test_1.tif", np.full((20, 24), np.nan, np.float32))


def _stack(path):
    (path / "images" / "test_1.png").unlink()
    save(path / "images" / "test_1.tif", np.ones((7, 20, 24), np.float32))


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        (_lone_image, "images/test_1.png", "no file of the same name"),
        (_lone_mask, "masks/test_1.png", "no file of the same name"),
        (_truncated, "images/test_1.png", "cannot be read"),
        (_no_png, "masks/test_1.png", "cannot be read"),
        (_other_size, "masks/test_1.png", "20 x 25, but its image is 20 x 24"),
        (_other_channels, "images/test_1.png", "3 channels"),
        (_colour_mask, "masks/test_1.png", "colour picture"),
        (_unknown_format, "images/test_1.bmp", "unknown format"),
        (_same_name, "images/test_1.tif", "same name"),
        (_fractions, "masks/test_1.tif", "not integers"),
        (_volume, "masks/test_1.png", "20 x 24, but its image is 20 x 24 x 5"),
        (_nan, "images/test_1.tif", "NaN"),
        (_stack, "images/test_1.tif", "2-D slices"),
    ],
)
def test_find_cases_names_the_bad_file_in_one_line(tmp_path, damage, file, words):
    damage(folder(tmp_path, ["train_1", "test_1"]))
    with pytest.raises(UserError, match=words) as caught:
        find_cases(tmp_path)
    assert str(tmp_path / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_cases_rejects_empty_folders(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_cases(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"images: no PNG, TIFF or NIfTI file"):
        find_cases(tmp_path)


def test_find_cases_rejects_masks_that_are_empty_or_grey(tmp_path):
    folder(tmp_path, ["train_1", "test_1"])
    for name in ("train_1", "test_1"):
        save(tmp_path / "masks" / f"{name}.png", np.zeros((20, 24), np.uint8))
    with pytest.raises(UserError, match="every mask is empty"):
        find_cases(tmp_path)
    save(tmp_path / "masks" / "train_1.png", np.arange(480).astype(np.uint8).reshape(20, 24))
    with pytest.raises(UserError, match="grey pictures"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"train": ["a", "b"], "test": ["x"]}', "no case is called 'x'"),
        ('{"train": ["a", "b"], "test": ["b"]}', "'b' is in train and in test"),
        ('{"train": ["a", "b"], "test": []}', "no case left to test on"),
        ('{"train": ["a", "b"]}', "must be"),
        ('{"train": "a", "test": ["b"]}', "must be"),
        ("[]", "must be"),
        ("{", "JSON"),
    ],
)
def test_find_cases_rejects_a_bad_splits_json(tmp_path, text, words):
    folder(tmp_path, ["a", "b", "c"])
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(UserError, match=words):
        find_cases(tmp_path)


def test_find_cases_rejects_a_single_case(tmp_path):
    with pytest.raises(UserError, match="no case left to train on"):
        find_cases(folder(tmp_path, ["a"]))


def test_find_images_needs_no_masks(tmp_path):
    folder(tmp_path, ["b", "a"])
    assert names(find_images(tmp_path)) == names(find_images(tmp_path / "images")) == ["a", "b"]
    assert "labels" not in Slices.from_cases(find_images(tmp_path), task())[0]


def test_read_image_scales_by_range_or_percentile(tmp_path):
    values = np.arange(256).reshape(16, 16)
    eight, _ = read_image(save(tmp_path / "a.png", values.astype(np.uint8)))
    assert eight.shape == (1, 16, 16) and eight.dtype == np.float32
    np.testing.assert_array_equal(eight[0], np.float32(values) / np.float32(255))
    for path in ("b.tif", "b.nii.gz"):
        image, _ = read_image(save(tmp_path / path, (values * 40 - 1000).astype(np.int16)))
        low, high = np.percentile(values, (0.5, 99.5))
        np.testing.assert_allclose(image[0], np.clip((values - low) / (high - low), 0, 1), atol=1e-6)
    constant, _ = read_image(save(tmp_path / "c.tif", np.full((16, 16), 7.0, np.float32)))
    assert not constant.any()
    colour, _ = read_image(save(tmp_path / "d.png", np.zeros((16, 18, 3), np.uint8)))
    assert colour.shape == (3, 16, 18)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 3, 1), (0, 1000)])
def test_write_labels_reads_back(tmp_path, values):
    classes = np.random.default_rng(0).integers(0, len(values), (7, 9))
    write_labels(tmp_path / "m.png", classes, values)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png"), np.array(values)[classes])


def test_collate_stacks_one_size_and_pads_nothing():
    def batch(*sizes):
        images = [np.ones((2, *size), np.float32) for size in sizes]
        return collate(list(Slices(images, [np.ones(size, np.uint8) for size in sizes])))

    two = batch((20, 33), (20, 33))
    assert two["image"].shape == (2, 2, 20, 33) and two["name"] == ["0000", "0001"]
    assert two["labels"].shape == (2, 1, 20, 33) and two["labels"].dtype == torch.int64
    with pytest.raises(RuntimeError, match="equal size"):
        batch((20, 33), (32, 17))


@pytest.mark.parametrize(
    ("name", "options", "counts", "values"),
    [
        ("idrid_tiles", {}, (54, 27), (0, 1, 2, 3, 4)),
        ("idrid_tiles", {"labels": [3]}, (54, 27), (0, 3)),
        ("ms_flair_2d", {"test_prefix": "p26_"}, (97, 47), (0, 255)),
    ],
)
def test_find_cases_reads_real_data(name, options, counts, values):
    if not (DATA / name).is_dir():
        pytest.skip("the shared data is not here")
    cases = find_cases(DATA / name, **options)
    assert (len(cases.train), len(cases.test)) == counts
    assert (cases.label_values, cases.channels) == (values, 1)


def test_find_cases_refuses_images_that_would_be_scaled_differently(tmp_path):
    labels = np.zeros((20, 20), np.uint8)
    labels[4:8, 4:8] = 1
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name in ("p1", "p2", "p3", "p4", "p5", "p6"):
        image = (labels * 200).astype(np.uint16 if name == "p6" else np.uint8)
        Image.fromarray(image).save(tmp_path / f"images/{name}.png")
        Image.fromarray(labels).save(tmp_path / f"masks/{name}.png")
    with pytest.raises(UserError, match=r"p6\.png: has other than 8-bit values, the others have 8-bit ones"):
        find_cases(tmp_path)
    assert find_cases(tmp_path, window=(0, 255)).num_classes == 2
    assert find_cases(tmp_path, on_bad=[].append).skipped
