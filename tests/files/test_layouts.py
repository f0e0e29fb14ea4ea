import json

import nibabel
import numpy as np
import pytest
from datasets import AFFINE, TURNED, decathlon, nnunet, save, task
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.files.labels import IGNORE
from boundaryloss.files.layouts import find_images
from boundaryloss.training.data.cases import find_cases
from boundaryloss.training.data.decoded import read_case
from boundaryloss.training.data.slices import Slices

REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def names(cases):
    return [case.name for case in cases]


def change(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_find_cases_reads_nnunet(tmp_path):
    cases = find_cases(nnunet(tmp_path, channels=2))
    assert (cases.layout.kind, cases.dimensions, cases.channels) == ("nnunet", 3, 2)
    assert (cases.label_values, cases.spacing) == ((0, 1), (1.0, 1.0, 2.0))
    assert sorted(names(cases.train) + names(cases.test)) == ["c0", "c1", "c2", "c3", "c4"]
    image, labels = read_case(cases.train[0], task(cases.label_values))
    assert image.shape == (2, 24, 20, 12) and set(np.unique(labels)) == {0, 1}


def test_find_cases_reads_decathlon(tmp_path):
    cases = find_cases(decathlon(tmp_path))
    assert (cases.layout.kind, cases.channels, cases.label_values) == ("msd", 2, (0, 1, 2))
    assert read_case(cases.train[0], task())[0].shape == (2, 24, 20, 12)
    assert cases.windows == ()


def test_find_cases_reads_nnunet_pictures(tmp_path):
    nnunet(tmp_path, file_ending=".png", labels={"background": 0, "lesion": 1})
    rng = np.random.default_rng(0)
    for path in (*tmp_path.glob("*/*.nii.gz"),):
        picture = rng.integers(0, 2 if path.parent.name == "labelsTr" else 255, (20, 24)).astype(np.uint8)
        Image.fromarray(picture).save(path.with_name(path.name.replace(".nii.gz", ".png")))
        path.unlink()
    cases = find_cases(tmp_path)
    assert (cases.dimensions, cases.channels, cases.spacing) == (2, 1, (1.0, 1.0))


def test_find_cases_reads_files_that_dataset_json_lists(tmp_path):
    nnunet(tmp_path, 3)
    listed = {
        f"n{i}": {"images": [f"imagesTr/c{i}_0000.nii.gz"], "label": f"labelsTr/c{i}.nii.gz"}
        for i in range(3)
    }
    change(tmp_path / "dataset.json", dataset=listed)
    cases = find_cases(tmp_path)
    assert sorted(names(cases.train) + names(cases.test)) == ["n0", "n1", "n2"]
    change(tmp_path / "dataset.json", dataset={"n0": {"images": []}})
    with pytest.raises(UserError, match="'n0' in \"dataset\" must have"):
        find_cases(tmp_path)


def test_find_cases_gives_the_window_of_ct(tmp_path):
    cases = find_cases(decathlon(tmp_path, modality="CT"))
    (low, high), _ = cases.windows
    assert 150 < low < 250 and 300 < high < 450  # the objects' intensities, not the background's
    assert find_cases(tmp_path, window=(0, 300)).windows == ((0, 300), (0, 300))
    image, _ = read_case(cases.train[0], task(windows=((100.0, 200.0),) * 2))
    raw = np.clip((np.arange(90, 210) - 100) / 100, 0, 1)
    assert set(np.round(image.ravel(), 5)) <= set(np.round([*raw, 1.0], 5).astype(np.float32))


def test_find_cases_folds_of_splits_final(tmp_path):
    nnunet(tmp_path)
    folds = [{"train": ["c1", "c2"], "val": ["c0"]}, {"train": ["c0", "c2"], "val": ["c1", "c4"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    cases = find_cases(tmp_path, fold=1)
    assert (names(cases.train), names(cases.test)) == (["c0", "c2"], ["c1", "c4"])
    with pytest.raises(UserError, match="no fold 2; it has 2"):
        find_cases(tmp_path, fold=2)


def test_find_cases_random_folds_test_every_case_once(tmp_path):
    nnunet(tmp_path)
    tested = [name for fold in range(5) for name in names(find_cases(tmp_path, fold=fold).test)]
    assert sorted(tested) == ["c0", "c1", "c2", "c3", "c4"]
    with pytest.raises(UserError, match="5 patients make 5 folds"):
        find_cases(tmp_path, fold=5)


def test_find_cases_ignore_and_regions(tmp_path):
    folder = nnunet(tmp_path, labels=REGIONS | {"ignore": 3}, regions_class_order=[1, 2])
    cases = find_cases(folder)
    assert cases.layout.regions == ((1, 2), (2,)) and cases.layout.region_values == (1, 2)
    assert cases.label_values == (0, 1, 2)
    labels = Slices.from_cases(cases.train, task(cases.label_values, ignore_value=cases.layout.ignore)).labels
    assert set(np.unique(labels[0])) == {0, 1, 2, IGNORE}
    change(tmp_path / "dataset.json", regions_class_order=[1])
    with pytest.raises(UserError, match="one value for each of the 2 regions"):
        find_cases(folder)


def test_find_images_groups_channels(tmp_path):
    nnunet(tmp_path, channels=2)
    cases = find_images(tmp_path / "imagesTr", numbered=True)
    assert names(cases)[:2] == ["c0", "c1"] and len(cases[0].images) == 2


def _undeclared(path):
    labels = np.zeros((24, 20, 12), np.uint8)
    labels[3, 3, 3] = 7
    save(path / "labelsTr/c1.nii.gz", labels)


def _other_affine(path):
    save(path / "labelsTr/c1.nii.gz", np.ones((24, 20, 12), np.uint8), TURNED)


def _other_size(path):
    save(path / "labelsTr/c1.nii.gz", np.ones((24, 20, 13), np.uint8))


def _channel_missing(path):
    (path / "imagesTr/c1_0000.nii.gz").unlink()


def _channel_too_many(path):
    save(path / "imagesTr/c1_0002.nii.gz", np.arange(24 * 20 * 12, dtype=np.int16).reshape(24, 20, 12))


def _channel_of_other_size(path):
    save(path / "imagesTr/c1_0001.nii.gz", np.ones((24, 21, 12), np.int16))


def _no_labels(path):
    (path / "labelsTr/c1.nii.gz").unlink()


def _no_image(path):
    for channel in path.glob("imagesTr/c1_*"):
        channel.unlink()


def _constant(path):
    save(path / "imagesTr/c1_0001.nii.gz", np.ones((24, 20, 12), np.int16))


def _nan(path):
    save(path / "imagesTr/c1_0000.nii.gz", np.full((24, 20, 12), np.nan, np.float32))


def _truncated(path):
    file = path / "imagesTr/c1_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:3000])


def _garbage(path):
    (path / "imagesTr/c1_0000.nii.gz").write_bytes(b"no volume")


def _flat(path):
    for file in path.glob("*/c1*"):
        save(file, np.eye(24, 20, dtype=np.uint8))


BAD = [
    (_undeclared, "labelsTr/c1.nii.gz", "label 7 is not in dataset.json"),
    (_other_affine, "labelsTr/c1.nii.gz", r"affine is not that of .*c1_0000"),
    (_other_size, "labelsTr/c1.nii.gz", "24 x 20 x 13, but its image is 24 x 20 x 12"),
    (_channel_missing, "imagesTr/c1_0001.nii.gz", "files 0001, but dataset.json names 2 channels"),
    (
        _channel_too_many,
        "imagesTr/c1_0000.nii.gz",
        r"3 channels, but dataset.json names 2 channels \(MR0, MR1\)",
    ),
    (_channel_of_other_size, "imagesTr/c1_0001.nii.gz", "24 x 21 x 12"),
    (_no_labels, "imagesTr/c1_0000.nii.gz", "no file of the same name in .*labelsTr"),
    (_no_image, "labelsTr/c1.nii.gz", "no file of the same name in .*imagesTr"),
    (_constant, "imagesTr/c1_0001.nii.gz", "one value everywhere"),
    (_nan, "imagesTr/c1_0000.nii.gz", "NaN"),
    (_truncated, "imagesTr/c1_0000.nii.gz", "cannot be read"),
    (_garbage, "imagesTr/c1_0000.nii.gz", "cannot be read"),
    (_flat, "imagesTr/c1_0000.nii.gz", "2-D, but the others are 3-D"),
]


@pytest.mark.parametrize(("damage", "file", "words"), BAD)
def test_find_cases_names_a_bad_volume_or_skips_it(tmp_path, damage, file, words):
    damage(nnunet(tmp_path, channels=2))
    with pytest.raises(UserError, match=words) as caught:
        find_cases(tmp_path)
    assert str(tmp_path / file) in str(caught.value) and "\n" not in str(caught.value)
    told = []
    cases = find_cases(tmp_path, on_bad=told.append)
    assert "c1" not in names(cases.train) + names(cases.test) and len(cases.train) + len(cases.test) == 4
    assert cases.skipped == (*told,) == (str(caught.value),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not readable as JSON"),
        ("[]", "must be a table"),
        ("{}", "neither channel_names"),
        ('{"channel_names": {"0": "MR"}, "labels": ["a"]}', '"labels" must be a table'),
        ('{"training": ["a"], "labels": {}}', 'must have "training"'),
    ],
)
def test_find_cases_names_what_is_wrong_with_dataset_json(tmp_path, content, words):
    (nnunet(tmp_path) / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=words):
        find_cases(tmp_path)


def test_find_cases_says_when_no_case_or_no_object_is_left(tmp_path):
    nnunet(tmp_path)
    for path in tmp_path.glob("labelsTr/*"):
        save(path, np.zeros((24, 20, 12), np.uint8))
    with pytest.raises(UserError, match="every mask is empty"):
        find_cases(tmp_path)
    for path in tmp_path.glob("imagesTr/*"):
        _garbage_at(path)
    told = []
    with pytest.raises(UserError, match=r"no good case is left$"):
        find_cases(tmp_path, on_bad=told.append)
    assert len(told) == 5 and any("c0_0000" in line for line in told)


def _garbage_at(path):
    path.write_bytes(b"x")


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1), (1, 20, 24)])
def test_find_cases_compares_the_grids_of_slices(tmp_path, shape):
    folder = nnunet(tmp_path, shape=(20, 24, 12))
    for path in folder.glob("*/*.nii.gz"):
        array = np.asanyarray(nibabel.load(path).dataobj)
        save(path, array.max(2).reshape(shape))
    found = find_cases(folder).found["c0"]
    assert found.shape == (20, 24) and found.spacing == ((1.0, 2.0) if shape[0] == 1 else (1.0, 1.0))
    labels = folder / "labelsTr/c0.nii.gz"
    flipped = AFFINE @ np.diag([-1.0 if shape[0] > 1 else 1.0, -1.0, 1.0, 1.0])
    save(labels, np.asanyarray(nibabel.load(labels).dataobj), flipped)
    with pytest.raises(UserError, match=r"labelsTr/c0\.nii\.gz: its affine is not that of .*c0_0000"):
        find_cases(folder)


def test_find_cases_spacing_of_a_turned_volume_is_by_patient_axis(tmp_path):
    cases = find_cases(nnunet(tmp_path, affine=TURNED))
    found = cases.found["c0"]
    assert (found.shape, found.spacing) == ((12, 24, 20), (2.0, 1.0, 1.0))
    with pytest.raises(UserError, match="volumes have theirs in their headers"):
        find_cases(tmp_path, spacing=(1, 1))
