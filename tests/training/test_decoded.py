"""Every file of a data folder is decoded once."""

from collections import Counter

import numpy as np
import pytest
from datasets import nnunet, save, task, write_slices

from boundaryloss.files import read as reader
from boundaryloss.files import read_affine, same_grid
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.cases import find_cases
from boundaryloss.training.data.decoded import read_case
from boundaryloss.training.data.rundata import load_data
from boundaryloss.training.run import train

CONFIG = TrainConfig(epochs=2, batch_size=4, features=(4,) * 5, validation=0.0, accelerator="cpu")


@pytest.fixture
def decodes(monkeypatch):
    """How often each file was decoded."""
    counts, decode = Counter(), reader._read

    def counted(path, *, labels=False):
        counts[path.relative_to(path.parents[1]).as_posix()] += 1
        return decode(path, labels=labels)

    monkeypatch.setattr(reader, "_read", counted)
    return counts


def test_train_decodes_each_slice_once(tmp_path, decodes):
    folder = write_slices(tmp_path / "data", 6)
    train(load_data(str(folder), CONFIG), CONFIG, tmp_path / "run")
    assert decodes == {f"{kind}/p{i}_z0.png": 1 for kind in ("images", "masks") for i in range(6)}


def test_questions_to_a_header_decode_nothing(tmp_path, decodes):
    folder = nnunet(tmp_path, 2)
    paths = [folder / "imagesTr/c0_0000.nii.gz", folder / "labelsTr/c0.nii.gz"]
    read_affine(paths[0])
    same_grid(*paths)
    assert not decodes


@pytest.mark.parametrize("modality", ["MRI", "CT"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
@pytest.mark.parametrize("window", [None, (10.0, 90.0)])
def test_slices_that_were_inspected_are_those_of_their_files(tmp_path, modality, dtype, window):
    rng, values = np.random.default_rng(0), (0, 3, 300)
    labels = {"background": 0, "a": 3, "b": 300}
    nnunet(tmp_path, 0, labels=labels, channel_names={"0": modality, "1": "x"}, numTraining=5)
    for index in range(5):
        labels = rng.choice(values, (20, 24)).astype(np.uint16)
        for channel in range(2):
            image = (rng.random((20, 24)) * 100).astype(dtype)
            save(tmp_path / f"imagesTr/c{index}_{channel:04d}.nii.gz", image)
        save(tmp_path / f"labelsTr/c{index}.nii.gz", labels)
    cases = find_cases(tmp_path, window=window)
    too_wide = modality == "CT" and dtype == np.float64 and window is None
    assert len(cases.decoded) == (0 if too_wide else 5)
    known = task(cases.label_values, windows=cases.windows)
    for case in cases.train:
        taken, again = read_case(case, known, cases.decoded.get(case.name)), read_case(case, known)
        for mine, expected in zip(taken, again, strict=True):
            assert mine.dtype == expected.dtype
            np.testing.assert_array_equal(mine, expected)
