"""Small made-up volumes in exactly the layout that the data sets are distributed in."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from boundaryloss.commands.actions.convert import convert
from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.files.errors import UserError
from boundaryloss.files.read import read_image, read_labels
from boundaryloss.files.text import read_toml
from boundaryloss.training.data.cases import find_cases

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHAPE = (20, 16, 3)


def write(path, array, dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.astype(dtype), np.diag([0.9, 0.9, 5, 1])), path)


def volume(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(-50, 4000, shape)


def truth(shape=SHAPE, values=(1,)):
    labels = np.zeros(shape, int)
    for index, value in enumerate(values):
        labels[2 + 4 * index : 5 + 4 * index, 3:9, 1] = value
    return labels


def write_isles2018(folder):
    for case in range(1, 6):
        kinds = {
            "CT": np.int32,
            "CT_4DPWI": np.int16,
            "CT_CBF": np.uint16,
            "CT_Tmax": np.float64,
            "OT": np.uint8,
        }
        for number, kind in enumerate(("CT", "CT_4DPWI", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax", "OT")):
            name = f"SMIR.Brain.XX.O.{kind}.{345560 + 10 * case + number}"
            array = truth((256, 256, 2)) if kind == "OT" else abs(volume(case + number, (256, 256, 2)))
            write(folder / f"TRAINING/case_{case}/{name}/{name}.nii", array, kinds.get(kind, np.float64))
    write(folder / "TESTING/case_1/SMIR.Brain.XX.O.CT.1/SMIR.Brain.XX.O.CT.1.nii", volume(0))


def write_wmh2017(folder):
    for number, site in enumerate(("Utrecht/0", "Utrecht/11", "Singapore/50", "Amsterdam/GE3T/100")):
        case = folder / "training" / site
        for name in ("orig/3DT1", "orig/FLAIR", "orig/T1", "pre/3DT1", "pre/FLAIR", "pre/T1"):
            write(case / f"{name}.nii.gz", volume(number))
        write(case / "wmh.nii.gz", truth(values=(1, 2)))
    write(folder / "test/Utrecht/1/wmh.nii.gz", truth())


def write_acdc(folder):
    for patient in range(1, 5):
        case = folder / f"training/patient{patient:03d}"
        for frame in (1, 12):
            write(case / f"patient{patient:03d}_frame{frame:02d}.nii.gz", volume(patient + frame), np.int16)
            labels = truth(values=(1, 2, 3))
            write(case / f"patient{patient:03d}_frame{frame:02d}_gt.nii.gz", labels, np.uint8)
        write(case / f"patient{patient:03d}_4d.nii.gz", volume(0, (4, 4, 2, 3)))
        (case / "Info.cfg").write_text("ED: 1\nES: 12\n")
    (folder / "testing/patient101").mkdir(parents=True)


LAYOUTS = {"isles2018": write_isles2018, "wmh2017": write_wmh2017, "acdc": write_acdc}
QUIET = {"progress": lambda *step: None}


@pytest.mark.parametrize(
    ("name", "first", "slices", "channels", "values"),
    [
        ("isles2018", "case1_000", 10, 5, (0, 1)),
        ("wmh2017", "AmsterdamGE3T100_000", 12, 2, (0, 1)),
        ("acdc", "patient001_frame01_000", 24, 1, (0, 1, 2, 3)),
    ],
)
def test_convert_makes_a_data_folder(tmp_path, name, first, slices, channels, values):
    LAYOUTS[name](tmp_path / "source")
    assert convert(name, tmp_path / "source", tmp_path / "data", **QUIET) == slices
    cases = find_cases(tmp_path / "data")
    assert sorted(case.name for case in cases.train + cases.test)[0] == first
    assert cases.channels == channels and cases.label_values == values
    assert not {cases.patients[case.name] for case in cases.train} & {
        cases.patients[case.name] for case in cases.test
    }
    image, _ = read_image(cases.train[0].image)
    assert image.shape == (channels, 256, 256)


def test_convert_scales_each_volume_as_a_whole(tmp_path):
    write_acdc(tmp_path / "source")
    convert("acdc", tmp_path / "source", tmp_path / "data", **QUIET)
    slices = [read_image(tmp_path / f"data/images/patient001_frame01_{i:03d}.tif")[0] for i in range(3)]
    original = volume(2).astype(float)
    expected = (original - original.min()) / np.ptp(original)
    for index, image in enumerate(slices):
        assert image.mean() == pytest.approx(expected[..., index].mean(), abs=0.01)


def test_convert_keeps_what_is_white_matter_and_where_it_is(tmp_path):
    write_wmh2017(tmp_path / "source")
    convert("wmh2017", tmp_path / "source", tmp_path / "data", **QUIET)
    labels = read_labels(tmp_path / "data/masks/Utrecht0_001.png")
    assert set(np.unique(labels)) == {0, 1}  # 2, other pathology, is background
    rows, columns = np.nonzero(labels)
    assert (rows.min(), rows.max()) == pytest.approx((2 / 20 * 256, 5 / 20 * 256 - 1), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((3 / 16 * 256, 9 / 16 * 256 - 1), abs=1)
    assert not read_labels(tmp_path / "data/masks/Utrecht0_000.png").any()


def test_convert_splits_by_patient_and_always_alike(tmp_path):
    write_acdc(tmp_path / "source")
    for out in ("a", "b"):
        convert("acdc", tmp_path / "source", tmp_path / out, **QUIET)
    text = (tmp_path / "a/splits.json").read_text()
    assert text == (tmp_path / "b/splits.json").read_text()
    split = json.loads(text)
    assert len({name.split("_")[0] for name in split["test"]}) == 2 and len(split["train"]) == 12


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: (s / "training/Utrecht/0/pre/T1.nii.gz").unlink(), r"Utrecht/0/pre/T1.nii.gz: is missing"),
        (lambda s: (s / "training/Utrecht/0/pre/T1.nii.gz").write_bytes(b"x"), "T1.nii.gz: cannot be read"),
        (lambda s: write(s / "training/Utrecht/0/pre/T1.nii.gz", volume(0, (4, 4, 3))), r"shape \(4, 4, 3\)"),
        (lambda s: write(s / "training/Utrecht/0/pre/T1.nii.gz", np.ones(SHAPE)), "one value everywhere"),
        (lambda s: write(s / "training/Utrecht/0/pre/T1.nii.gz", np.ones((4, 4))), r"shape \(4, 4\)"),
        (lambda s: write(s / "training/Utrecht/0/wmh.nii.gz", np.ones((4, 4))), "a volume was expected"),
        (lambda s: write(s / "training/Utrecht/0/wmh.nii.gz", truth() + 0.5), "not integers"),
        (lambda s: write(s / "Utrecht/0/wmh.nii.gz", truth()), "the same case as|is missing"),
    ],
)
def test_convert_bad_input_is_named_and_leaves_nothing(tmp_path, spoil, words):
    write_wmh2017(tmp_path / "source")
    spoil(tmp_path / "source")
    with pytest.raises(UserError, match=words):
        convert("wmh2017", tmp_path / "source", tmp_path / "data", **QUIET)
    assert not (tmp_path / "data").exists()


def test_convert_of_another_data_set_says_so(tmp_path):
    write_acdc(tmp_path / "source")
    with pytest.raises(UserError, match="holds no case of wmh2017"):
        convert("wmh2017", tmp_path / "source", tmp_path / "data", **QUIET)
    with pytest.raises(UserError, match="no such folder"):
        convert("acdc", tmp_path / "none", tmp_path / "data", **QUIET)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_experiments_of_the_paper_can_be_read(name):
    experiment = read_experiment(EXPERIMENTS / f"{name}.toml")
    assert len(experiment.methods) == 4 and len(experiment.seeds) == 3
    assert experiment.data == str(EXPERIMENTS / "data" / name)
    assert read_toml(EXPERIMENTS / f"{name}.toml")["train"]["batch_size"] == 8


def test_experiments_of_the_paper_have_its_schedule():
    for name in ("isles2018", "wmh2017"):
        schedule = read_experiment(EXPERIMENTS / f"{name}.toml").methods[1].config.make_weighting()
        assert schedule(0) == pytest.approx((0.99, 0.01)) and schedule(199) == pytest.approx((0.01, 0.99))
