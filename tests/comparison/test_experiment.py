import json

import pytest

from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.files.errors import UserError

GOOD = """\
data = "tiles"
seeds = [3, 1]

[train]
epochs = 5
labels = [3]

[methods."GDL"]
loss = "gdl"

[methods."GDL + boundary"]
loss = "gdl+boundary"
epochs = 7

[methods."CE"]
loss = "ce"
baseline = "CE"
"""


def read(folder, text, **kwargs):
    (folder / "tiles.toml").write_text(text)
    return read_experiment(folder / "tiles.toml", **kwargs)


def test_read_experiment_gives_every_method_its_settings(tmp_path):
    experiment = read(tmp_path, GOOD)
    assert experiment.title == "tiles" and experiment.data == str(tmp_path / "tiles")
    assert [method.config.epochs for method in experiment.methods] == [5, 7, 5]
    assert [method.baseline for method in experiment.methods] == [None, "GDL", None]
    assert json.loads(experiment.source(0).settings)["labels"] == [3]


def test_read_experiment_finds_the_run_to_begin_with_beside_the_file(tmp_path):
    methods = read(tmp_path, GOOD.replace("epochs = 7", 'epochs = 7\nbegin_with = "runs/a"')).methods
    assert [method.config.begin_with for method in methods] == [None, str(tmp_path / "runs/a"), None]


def test_read_experiment_pairs_the_seeds(tmp_path):
    runs = list(read(tmp_path, GOOD).runs())
    assert [run.seed for run in runs] == [3, 3, 3, 1, 1, 1] == [run.config.seed for run in runs]
    assert runs[1].name == "gdl-boundary-fold0-seed3"


def test_read_experiment_data_given_wins(tmp_path):
    assert read(tmp_path, GOOD, data="phantom").data == "phantom"
    assert read(tmp_path, GOOD, data="elsewhere").data == "elsewhere"  # of the command line: where one is


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds", "sedes", "unknown setting in .*tiles.toml: 'sedes'; did you mean 'seeds'"),
        ("epochs = 5", "epoch = 5", "unknown setting in .*GDL.*: 'epoch'; did you mean 'epochs'"),
        ("epochs = 7", "epochs = 0", "epochs must be greater than 0"),
        ('"gdl+boundary"', '"gdl+boundry"', "did you mean 'gdl.boundary'"),
        ('baseline = "CE"', 'baseline = "GLD"', "unknown baseline .*CE.*: 'GLD'; did you mean 'GDL'"),
        ('baseline = "CE"', "baseline = 3", "baseline must be the name of a method"),
        ('data = "tiles"', "", "says no data"),
        ('data = "tiles"', "data = 3", "says no data"),
        ("[3, 1]", "[3, 3]", "seeds must be a list of different whole numbers"),
        ("[3, 1]", "[]", "seeds must be"),
        ("[3, 1]", "[true]", "seeds must be"),
        ("[3, 1]", '[3]\nfolds = ["p07"]', "folds must be"),
        ("[3, 1]", '[3]\nfolds = [["p1"], ["p10"]]', "'p1' and 'p10' overlap"),
        ("labels = [3]", "seed = 3", "give seeds"),
        ('loss = "ce"', "labels = [3]", "labels is the same for all methods"),
        ('loss = "ce"', "seed = 3", "seed is the same for all methods"),
        ("labels = [3]", "devices = 2", "each run of a comparison has one device"),
        ('methods."GDL + boundary"', 'methods."gdl "', "gives no directory of its own"),
        ('methods."GDL + boundary"', 'methods."+"', "gives no directory of its own"),
        ("[train]", "[train", "not valid TOML"),
        ("data =", "title = 3\ndata =", "title must be text"),
    ],
)
def test_read_experiment_names_what_is_wrong(tmp_path, old, new, words):
    assert old in GOOD
    with pytest.raises(UserError, match=words):
        read(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('data = "x"', "says no methods"),
        ('data = "x"\nmethods = 3', "says no methods"),
        ('data = "x"\n[methods]\nGDL = 3', "must be a table of settings"),
        ('data = "x"\ntrain = 3\n[methods.GDL]', "must be a table of settings"),
        ('data = "phantom"\nfolds = [["p"]]\n[methods.GDL]', "split of its own"),
    ],
)
def test_read_experiment_names_what_is_missing(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)


def test_read_experiment_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the configuration .*none\.toml"):
        read_experiment(tmp_path / "none.toml")


def test_read_experiment_takes_numbered_folds(tmp_path):
    experiment = read(tmp_path, GOOD.replace("[3, 1]", "[0]\nfolds = [0, 2]"))
    assert [run.config.fold for run in experiment.runs()] == [0, 0, 0, 2, 2, 2]
