import json
import os

import numpy as np
import pytest
from datasets import decathlon, nnunet, task
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.files.labels import IGNORE, class_indices
from boundaryloss.files.layouts import find_images, find_labels, read_layout
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.cases import find_cases
from boundaryloss.training.data.decoded import read_case
from boundaryloss.training.data.rundata import RunData, load_data

QUIET = TrainConfig(validation=0)


def tiles(folder, count=5, *, change=lambda labels, index: labels):
    """Slices c0, c1, ... with an object of 16 and one of 4 pixels."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        labels = np.zeros((32, 32), np.uint8)
        labels[4:8, 4:8] = labels[20:22, 20:22] = 1
        image = np.random.default_rng(index).integers(0, 256, labels.shape).astype(np.uint8)
        Image.fromarray(image).save(folder / f"images/c{index}.png")
        Image.fromarray(change(labels, index).astype(np.uint8)).save(folder / f"masks/c{index}.png")
    return folder


def census(folder, config=QUIET):
    return load_data(str(folder), config).census


def with_void(labels, index):
    labels[:, 30:] = 255
    return labels


def grey(labels, index):
    labels = labels * 255
    labels[4:8, 8], labels[4:8, 3] = 90, 17
    labels[2, 2] = 3
    return labels


def test_census_counts_classes_cases_patients_and_objects(tmp_path):
    assert census(tiles(tmp_path)) == (
        "label 1: 100 voxels (2 %) in 5 of 5 cases",
        "train: 4 cases of 4 patients, 8 objects",
        "test: 1 case of 1 patient, 2 objects",
    )
    assert "1 of the cases choose best.ckpt" in census(tmp_path, TrainConfig(validation=0.3))[1]
    assert census(tmp_path, TrainConfig(validation=0.1))[3:] == (
        "validation = 0.1 of the training cases is no whole patient: there will be no best.ckpt",
    )
    with pytest.raises(UserError, match="halve_after watches the validation share"):
        census(tmp_path, TrainConfig(validation=0.1, halve_after=5))


def test_census_suggests_to_ignore_255_beside_small_labels(tmp_path):
    tiles(tmp_path, change=with_void)
    assert "set ignore = 255" in census(tmp_path)[-1]
    lines = census(tmp_path, TrainConfig(validation=0, ignore=255))
    assert lines[1] == "unlabelled (255): 320 voxels (6.2 %)" and len(lines) == 4
    assert "no mask has 254, the value to ignore" in census(tmp_path, TrainConfig(validation=0, ignore=254))
    lines = census(tmp_path, TrainConfig(validation=0, labels=(1,)))
    assert lines[1] == "background as well (255): 320 voxels (6.2 %)" and len(lines) == 4


def test_census_names_a_class_that_no_training_case_has(tmp_path):
    tiles(tmp_path, change=lambda labels, index: labels * (2 if index == 2 else 1))
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["c0", "c1"], "test": ["c2"]}))
    assert census(tmp_path)[-1] == "label 2: no training case has it"


def test_census_of_many_classes_is_short(tmp_path):
    tiles(tmp_path, change=lambda labels, index: np.arange(1024).reshape(32, 32) % 101)
    lines = census(tmp_path)
    assert len(lines) == 15 and lines[12] == "and 88 more labels, the rarest 14: 50 voxels in 5 cases"


def test_find_cases_ignores_the_value_that_is_given(tmp_path):
    cases = find_cases(tiles(tmp_path, change=with_void), ignore=255)
    assert (cases.label_values, cases.layout.ignore) == ((0, 1), 255)
    _, labels = read_case(cases.train[0], task((0, 1), ignore_value=255))
    assert [*np.unique(labels)] == [0, 1, IGNORE] and (labels[:, 30:] == IGNORE).all()
    assert RunData.from_collection(cases, QUIET).task.masked


def test_find_cases_refuses_to_ignore_what_dataset_json_declares_otherwise(tmp_path):
    nnunet(tmp_path, 3, labels={"background": 0, "lesion": 1, "ignore": 2})
    assert find_cases(tmp_path, ignore=2).layout.ignore == 2
    with pytest.raises(UserError, match=r"ignore = 3 is not 2 in .*dataset.json"):
        find_cases(tmp_path, ignore=3)
    with pytest.raises(UserError, match=r"ignore = 1 is a label in .*dataset.json"):
        find_cases(tmp_path, ignore=1)
    with pytest.raises(UserError, match=r"threshold: .* has a value to ignore"):
        find_cases(tmp_path, threshold=0)


def test_find_cases_refuses_grey_edges_and_takes_their_threshold(tmp_path):
    tiles(tmp_path, change=grey)
    with pytest.raises(UserError, match=r"masks: the values 3, 17, 90, 255 .* grey .* threshold = 127"):
        find_cases(tmp_path)
    cases = find_cases(tmp_path, threshold=127)
    assert cases.label_values == (0, 1)
    assert read_case(cases.train[0], task(cases.label_values))[1].sum() == 20  # pyright: ignore
    assert census(tmp_path, TrainConfig(validation=0, threshold=16))[0].startswith("label 1: 140 voxels")


def test_find_cases_with_a_threshold_needs_labels_that_dataset_json_declares(tmp_path):
    nnunet(tmp_path, 3, labels={"background": 0, "lesion": 7})
    with pytest.raises(UserError, match=r"label 1 is not in dataset.json"):
        find_cases(tmp_path, threshold=3)


def test_find_cases_refuses_training_masks_that_are_all_empty(tmp_path):
    tiles(tmp_path, change=lambda labels, index: labels * (index == 2))
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["c0", "c1"], "test": ["c2"]}))
    with pytest.raises(UserError, match="every training mask is empty"):
        find_cases(tmp_path)


def test_load_data_refuses_a_validation_share_that_takes_every_object(tmp_path):
    tiles(tmp_path, change=lambda labels, index: labels * (index == 0))
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["c0", "c1"], "test": ["c2"]}))
    seeds = [_attempt(tmp_path, seed) for seed in range(6)]
    assert {*seeds} == {
        None,
        "validation = 0.5 takes every training mask that is not empty; set it lower, or 0",
    }


def _attempt(folder, seed):
    try:
        load_data(str(folder), TrainConfig(validation=0.5, seed=seed))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("settings", [{"fold": 1}, {"labels": (1,)}, {"ignore": 3}, {"spacing": (1.0, 1.0)}])
def test_load_data_refuses_what_the_phantom_has_itself(settings):
    with pytest.raises(UserError, match=f"{next(iter(settings))}: the phantom has its own"):
        load_data("phantom", TrainConfig(**settings))


@pytest.mark.parametrize("ignore", [255, 511, 65535])
def test_class_indices_tells_unlabelled_voxels_from_classes(ignore):
    labels = np.array([0, 1, 7, 253, 254, 255, 511, 65535])
    values = tuple(value for value in range(254) if value != ignore)
    expected = [0, 1, 7, 253, 0, 0, 0, 0]
    expected[labels.tolist().index(ignore)] = IGNORE
    assert class_indices(labels, values, ignore).tolist() == expected
    assert class_indices(labels[:5].astype(np.uint8), values, 511).tolist() == [0, 1, 7, 253, 0]
    with pytest.raises(ValueError, match="256 classes"):
        class_indices(labels, tuple(range(256)), 300)


def listed(folder, description, **more):
    (folder / "dataset.json").write_text(json.dumps(json.loads(description.read_text()) | more))


def test_read_layout_names_images_of_one_name_by_their_folders(tmp_path):
    decathlon(tmp_path, 4)
    entries = []
    for index in range(4):
        for kind in ("image", "label"):
            path = tmp_path / f"site{index % 2}/p{index}/{kind}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{kind}sTr/d{index}.nii.gz").rename(path)
        entries.append({kind: f"./site{index % 2}/p{index}/{kind}.nii.gz" for kind in ("image", "label")})
    listed(tmp_path, tmp_path / "dataset.json", training=entries)
    names = ["site0_p0_image", "site0_p2_image", "site1_p1_image", "site1_p3_image"]
    assert [case.name for case in read_layout(tmp_path).cases] == names
    assert [*find_labels(tmp_path)] == [case.name for case in find_images(tmp_path)] == names
    listed(tmp_path, tmp_path / "dataset.json", training=[*entries, entries[0]])
    with pytest.raises(UserError, match="'site0_p0_image' comes twice"):
        read_layout(tmp_path)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "a\0", "\udcff", "x" * 300])
def test_read_layout_refuses_names_that_would_be_files_elsewhere(tmp_path, name):
    nnunet(tmp_path, 1)
    files = {"images": ["imagesTr/c0_0000.nii.gz"], "label": "labelsTr/c0.nii.gz"}
    listed(tmp_path, tmp_path / "dataset.json", dataset={name: files})
    with pytest.raises(UserError, match="rename it"):
        read_layout(tmp_path)


def test_read_layout_notes_another_number_of_cases(tmp_path):
    nnunet(tmp_path, 2, numTraining=3)
    assert read_layout(tmp_path).notes == (
        f"{tmp_path / 'dataset.json'}: numTraining is 3, but there are 2 cases; is any missing?",
    )


def test_read_layout_passes_over_what_systems_leave_in_folders(tmp_path):
    tiles(tmp_path, 2)
    before = read_layout(tmp_path)
    for name in ("._c0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/images/._c0.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")
    assert read_layout(tmp_path) == before


@pytest.mark.parametrize("name", ["missing.nii.gz", "a\0b", "x" * 300, "pipe.nii.gz", "."])
def test_find_cases_names_a_listed_file_that_is_none(tmp_path, name):
    nnunet(tmp_path, 2)
    os.mkfifo(tmp_path / "pipe.nii.gz")
    files = {
        f"n{i}": {"images": [f"imagesTr/c{i}_0000.nii.gz"], "label": f"labelsTr/c{i}.nii.gz"} for i in (0, 1)
    }
    files["n1"]["images"] = [name]
    listed(tmp_path, tmp_path / "dataset.json", dataset=files)
    with pytest.raises(UserError, match="no such file, or not an ordinary one"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("folders", "images", "labels"),
    [
        (["images", "masks", "imagesTs"], "images", "masks"),
        (["imagesTr", "labelsTr", "imagesTs"], "imagesTr", "labelsTr"),
        (["imagesTr", "labelsTr", "imagesTs", "labelsTs"], "imagesTs", "labelsTs"),
        (["imagesTr", "imagesTs"], "imagesTs", None),
        (["images"], "images", None),
        (["labelsTr"], None, "labelsTr"),
    ],
)
def test_find_images_and_find_labels_take_folders_that_belong_together(tmp_path, folders, images, labels):
    for name in folders:
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / name / "a.png")
    assert not images or find_images(tmp_path)[0].image.parent == tmp_path / images
    assert not labels or find_labels(tmp_path)["a"].parent == tmp_path / labels
