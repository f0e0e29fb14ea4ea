"""Small datasets in the layouts that are read, made anew for each test."""

import json

import nibabel
import numpy as np
from PIL import Image

from boundaryloss.training.data.slices import Slices
from boundaryloss.training.task import Task

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
TURNED = np.array([[0, 0, 2.0, 5], [-1.0, 0, 0, 7], [0, 1.0, 0, -3], [0, 0, 0, 1]])  # axes P, S, R


def task(label_values=(0, 1), spacing=(1.0, 1.0), **more):
    """What is known of data with one channel."""
    return Task(1, tuple(label_values), spacing, **more)


def block(shape, *corners):
    """A mask of one block, from one index to before another along each axis."""
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(low, high) for low, high in corners)] = 1
    return array


def volume(seed, shape=(24, 20, 12), values=(1,)):
    """Noise with one bright block per value, and its labels."""
    rng = np.random.default_rng(seed)
    image, labels = rng.normal(100, 10, shape), np.zeros(shape, np.uint8)
    for value in values:
        corner = [rng.integers(1, n - n // 3 - 1) for n in shape]
        block = tuple(slice(c, c + max(2, n // 4)) for c, n in zip(corner, shape, strict=True))
        labels[block] = value
        image[block] += 100 * value
    return image.astype(np.int16), labels


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def nnunet(folder, count=5, *, channels=1, affine=AFFINE, labels=None, shape=(24, 20, 12), **more):
    """An nnU-Net v2 raw dataset of `count` volumes c0, c1, ..."""
    labels = {"background": 0, "lesion": 1} if labels is None else labels
    values = sorted(
        {v for value in labels.values() for v in (value if isinstance(value, list) else [value])} - {0}
    )
    for index in range(count):
        image, truth = volume(index, shape, values)
        for channel in range(channels):
            save(folder / f"imagesTr/c{index}_{channel:04d}.nii.gz", image + channel, affine)
        save(folder / f"labelsTr/c{index}.nii.gz", truth, affine)
    description = {"channel_names": {str(c): f"MR{c}" for c in range(channels)}, "labels": labels}
    description |= {"numTraining": count, "file_ending": ".nii.gz"} | more
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def decathlon(folder, count=5, *, channels=2, modality="MRI"):
    """A dataset of the Medical Segmentation Decathlon, channels on the last axis."""
    for index in range(count):
        image, truth = volume(index, values=(1, 2))
        save(folder / f"imagesTr/d{index}.nii.gz", np.stack([image + c for c in range(channels)], -1))
        save(folder / f"labelsTr/d{index}.nii.gz", truth)
    entries = [{"image": f"./imagesTr/d{i}.nii.gz", "label": f"./labelsTr/d{i}.nii.gz"} for i in range(count)]
    description = {
        "modality": {str(c): modality for c in range(channels)},
        "labels": {"0": "background", "1": "a", "2": "b"},
        "training": entries,
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def stacked(source, folder, spacing=(1.0, 1.0, 2.0)):
    """An nnU-Net dataset of volumes from a plain folder of slices PATIENT_zNNN, and a fold per patient."""
    names = sorted(path.stem for path in (source / "images").iterdir())
    patients = sorted({name.split("_")[0] for name in names})
    for patient in patients:
        slices = [name for name in names if name.startswith(f"{patient}_")]
        image, mask = (
            np.stack([np.asarray(Image.open(source / kind / f"{name}.png")) for name in slices], axis=-1)
            for kind in ("images", "masks")
        )
        save(folder / f"imagesTr/{patient}_0000.nii.gz", image.astype(np.int16), np.diag([*spacing, 1.0]))
        save(folder / f"labelsTr/{patient}.nii.gz", (mask > 0).astype(np.uint8), np.diag([*spacing, 1.0]))
    description = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "lesion": 1}}
    description |= {"numTraining": len(patients), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    folds = [
        {"train": [other for other in patients if other != patient], "val": [patient]} for patient in patients
    ]
    (folder / "splits_final.json").write_text(json.dumps(folds))
    return folder


def squares(count, size=32):
    """Slices with a bright square each, but in the last one."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 0.3, (count, 1, size, size)).astype(np.float32)
    labels = np.zeros((count, size, size), np.uint8)
    labels[:-1, 10:16, 12:18] = 1
    return Slices(list(np.maximum(images, labels[:, None])), list(labels))


def write_slices(folder, count=6):
    """A plain folder of PNG slices p0_z0, p1_z0, ... with a bright square of label 3 each."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 4 + index : 12 + index] = 3
        image = np.where(mask > 0, 220, rng.integers(0, 60, (32, 32))).astype(np.uint8)
        Image.fromarray(image).save(folder / f"images/p{index}_z0.png")
        Image.fromarray(mask).save(folder / f"masks/p{index}_z0.png")
    return folder
