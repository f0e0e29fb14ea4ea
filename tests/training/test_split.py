import json

import pytest

from boundaryloss.files.errors import UserError
from boundaryloss.files.groups import group_names
from boundaryloss.files.text import read_toml
from boundaryloss.training.data.split import split_names, split_validation

TILES = [f"blowhole_{i}" for i in range(115)] + [f"crack_{i}" for i in range(57)]
SLICES = [f"p{patient:02d}_z{z}" for patient in range(10) for z in range(3)]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["p07_z1", "p07_z2", "p19_z1"], ["p07", "p07", "p19"]),
        (["patient001_frame01", "patient002_frame01"], ["patient001", "patient002"]),
        (["site_p07_z1", "site_p08_z1"], ["site_p07", "site_p08"]),
        (["BraTS20_001_a", "BraTS20_002_a"], ["BraTS20_001", "BraTS20_002"]),
        (["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"], ["sub-01", "sub-01", "sub-02"]),
        (["blowhole_1_2", "crack_1_2"], ["blowhole_1", "crack_1"]),
        *[
            (names, names)
            for names in (
                ["blowhole_1", "crack_1"], ["case_0001", "case_0002"], ["train_12", "test_13"], ["a"], [],
                ["ISIC_0000012", "ISIC_0000013"], ["BraTS20_Tr_001", "BraTS20_Tr_002"], ["p1_z1"],
            )
        ],
    ],
)  # fmt: skip
def test_group_names_finds_the_patient(names, groups):
    assert [*group_names(names).values()] == groups


def test_group_names_by_a_pattern_of_the_user():
    names = ["smith.1", "smith.2", "jones.1", "other"]
    assert [*group_names(names, r"^(\w+)\.").values()] == ["smith", "smith", "jones", "other"]
    with pytest.raises(UserError, match=r"matches no name, such as 'smith.1'"):
        group_names(names, "^(p[0-9]+)_")


def split(folder, names, group=None, fold=0, seed=0, **more):
    settings = {"test_prefix": None, **more}
    return split_names(folder, names, seed=seed, groups=group_names(names, group), fold=fold, **settings)


def test_split_names_does_not_take_kinds_of_defects_for_patients(tmp_path):
    train, test = split(tmp_path, TILES)
    assert (len(train), len(test)) == (138, 34)
    assert {name.split("_")[0] for name in test} == {"blowhole", "crack"}


def test_split_names_refuses_fewer_patients_than_folds(tmp_path):
    with pytest.raises(UserError, match=r"172 cases of 2 patients \(blowhole, crack\).*group = "):
        split(tmp_path, TILES, "^(.+?)_")
    train, test = split(tmp_path, TILES, "^(.+)$")
    assert (len(train), len(test)) == (138, 34)


def test_split_names_refuses_a_fold_that_tests_most_cases(tmp_path):
    names = [f"p0_z{z}" for z in range(50)] + [f"p{patient}_z0" for patient in range(1, 10)]
    with pytest.raises(UserError, match=r"fold 0 would train on 57 cases and test on 2 \(p7, p8\)"):
        split(tmp_path, names)


@pytest.mark.parametrize("kind", ["splits.json", "prefixes", "names"])
def test_split_names_refuses_a_fold_where_there_is_one_split(tmp_path, kind):
    names, more = (["train_1", "train_2", "test_1"] if kind == "names" else ["a", "b", "c"]), {}
    if kind == "splits.json":
        (tmp_path / "splits.json").write_text(json.dumps({"train": ["a"], "test": ["b"]}))
    if kind == "prefixes":
        more = {"test_prefix": "a"}
    assert split(tmp_path, names, **more)[1]
    with pytest.raises(UserError, match=f"fold 7, but .*{kind}.* give one split only"):
        split(tmp_path, names, fold=7, **more)


def test_split_names_takes_the_run_s_own_split_in_any_fold(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"train": ["a"], "test": ["b"]}))
    own = tmp_path / "own.json"
    assert split(tmp_path, ["a", "b"], fold=3, split=own) == (["a"], ["b"])
    assert split(tmp_path, ["a", "b"], test_prefix="b", split=own) == (["a"], ["b"])
    with pytest.raises(UserError, match=r"own\.json tests other cases than those whose names begin with a"):
        split(tmp_path, ["a", "b"], test_prefix="a", split=own)


def test_split_validation_keeps_patients_together():
    groups = group_names(SLICES)
    for seed in range(5):
        learn, validate = split_validation(SLICES, groups, 0.2, seed)
        assert sorted(learn + validate) == SLICES and len(validate) == 6
        assert not {groups[name] for name in learn} & {groups[name] for name in validate}


def test_split_validation_may_be_none_but_not_all():
    assert split_validation(["a", "b", "c"], {name: name for name in "abc"}, 0.1, 0) == (["a", "b", "c"], [])
    with pytest.raises(UserError, match=r"validation = 0.9 of 3 cases leaves nothing"):
        split_validation(["a", "b", "c"], {name: name for name in "abc"}, 0.9, 0)


@pytest.mark.parametrize(("patients", "count"), [(1, 0), (3, 0), (4, 9), (9, 4), (12, 3)])
def test_split_validation_is_none_where_one_patient_is_too_much(patients, count):
    names = [f"p{i % patients}_z{i}" for i in range(36)]
    learn, validate = split_validation(names, {name: name.split("_")[0] for name in names}, 0.1, 0)
    assert (len(learn), len(validate)) == (36 - count, count)


def test_read_toml_takes_a_byte_order_mark_and_refuses_deep_nesting(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("epochs = 3\n", encoding="utf-8-sig")
    assert read_toml(path) == {"epochs": 3}
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(UserError, match=r"nested too deeply|not valid TOML"):
        read_toml(path)
