import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from datasets import AFFINE, TURNED, nnunet, save, task

from boundaryloss.files.errors import UserError
from boundaryloss.files.layouts import Case
from boundaryloss.training.checkpoints import read_checkpoint
from boundaryloss.training.data.volumes import FileGrid, Volumes

TASK = task(spacing=(1.0, 1.0, 2.0))


def count(folder):
    return len(list(Path(folder).iterdir()))


def cases_of(folder):
    return [
        Case(f"c{i}", (folder / f"imagesTr/c{i}_0000.nii.gz",), folder / f"labelsTr/c{i}.nii.gz")
        for i in range(2)
    ]


def test_volumes_are_right_anterior_superior_whatever_the_file(tmp_path):
    straight, turned = nnunet(tmp_path / "a"), nnunet(tmp_path / "b", affine=TURNED)
    for path in turned.glob("*/*.nii.gz"):  # the same patient, written in another order of axes
        array = np.asanyarray(nibabel.load(straight / path.relative_to(turned)).dataobj)
        save(path, np.flip(array.transpose(1, 2, 0), 0), TURNED)
    a, b = (Volumes(cases_of(folder), TASK, None)[0] for folder in (straight, turned))
    assert torch.equal(a["image"], b["image"]) and torch.equal(a["labels"], b["labels"])
    assert (a["spacing"], b["spacing"]) == ((1.0, 1.0, 2.0), (2.0, 1.0, 1.0))
    assert type(a["image"]) is torch.Tensor and a["labels"].dtype == torch.uint8


def test_volumes_keep_the_digits_of_small_voxels(tmp_path):
    folder = nnunet(tmp_path, affine=np.diag([325e-6, 325e-6, 1.25e-3, 1]))
    assert Volumes(cases_of(folder), TASK, None)[0]["spacing"] == (0.000325, 0.000325, 0.00125)


def test_volumes_are_resampled(tmp_path):
    sample = Volumes(cases_of(nnunet(tmp_path)), TASK, (2.0, 2.0, 1.0))[0]
    assert sample["image"].shape == (1, 12, 10, 23) == sample["labels"].shape
    assert sample["spacing"] == (2.0, 2.0, 1.0)
    assert set(sample["labels"].unique().tolist()) == {0, 1}


@pytest.mark.parametrize("affine", [AFFINE, TURNED])
@pytest.mark.parametrize("target", [None, (0.7, 1.3, 1.9)])
def test_file_grid_brings_labels_back_to_their_file(tmp_path, affine, target):
    folder = nnunet(tmp_path, affine=affine, shape=(31, 26, 17))
    cases = cases_of(folder)
    item = FileGrid(Volumes(cases, TASK, target))[1]
    logits = torch.cat([0.5 - item["image"], item["image"] - 0.5])  # the object is bright
    back = item["restore"](logits).argmax(0).numpy()
    assert back.shape == item["truth"].shape == (31, 26, 17)
    truth = item["truth"] > 0
    dice = 2 * (truth & (back > 0)).sum() / (truth.sum() + (back > 0).sum())
    assert dice > 0.97 if target is None else dice > 0.85
    assert item["spacing"] == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0))


def test_volumes_on_disc_are_prepared_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    cases, cache = cases_of(nnunet(tmp_path)), str(tmp_path / "cache")
    first = Volumes(cases, TASK, None, cache)[0]
    assert count(cache) == 1
    with monkeypatch.context() as patch:
        patch.setattr("boundaryloss.training.data.volumes.read_case", None)
        again = Volumes(cases, TASK, None, cache)[0]
    assert torch.equal(first["image"], again["image"]) and count(cache) == 1
    assert again["spacing"] == (1.0, 1.0, 2.0)
    Volumes(cases, TASK, (2.0, 2.0, 2.0), cache)[0]
    save(cases[0].labels, np.zeros((24, 20, 12), np.uint8))
    os.utime(cases[0].labels, (1, 1))
    assert not Volumes(cases, TASK, None, cache)[0]["labels"].any()
    assert count(cache) == 3


def test_volumes_in_memory_are_the_same(tmp_path):
    cases = cases_of(nnunet(tmp_path))
    memory, none = Volumes(cases, TASK, None, "memory"), Volumes(cases, TASK, None)
    assert all(torch.equal(memory[i]["image"], none[i]["image"]) for i in range(2))
    for path in cases[0].images:
        path.unlink()
    assert memory[0]["image"].shape == (1, 24, 20, 12)
    with pytest.raises(UserError, match=r"c0_0000\.nii\.gz: no such file"):
        none[0]


@pytest.mark.parametrize("damage", [lambda old: old[:100], lambda old: b"", lambda old: flipped(old)])
def test_volumes_prepare_again_what_is_damaged_in_the_cache(tmp_path, damage):
    cases, cache = cases_of(nnunet(tmp_path))[:1], tmp_path / "cache"
    first = Volumes(cases, TASK, None, str(cache))[0]
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(Volumes(cases, TASK, None, str(cache))[0]["image"], first["image"])
    read_checkpoint(path)  # is whole again


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
