import dataclasses
import random

import pytest

from boundaryloss import Constant, Increase, Rebalance
from boundaryloss.files.errors import UserError
from boundaryloss.training.config import TrainConfig, as_dict, from_dict, read_config, write_config

FACTS = {"channels": 1, "num_classes": 2, "label_values": [0, 255], "spacing": [1.0, 0.5]}


def test_write_config_reads_back_the_same(tmp_path):
    config = TrainConfig(
        loss="dicece",
        weighting="rebalance",
        weighting_options={"step": 0.02},
        labels=(3,),
        spacing=(0.5, 2.0),
    )
    write_config(tmp_path / "config.toml", config, FACTS)
    assert read_config(tmp_path / "config.toml") == config


def test_write_config_names_every_setting(tmp_path):
    settings = {"labels": (1,), "spacing": (1.0, 1.0), "window": (0.0, 1.0), "target_spacing": (1.0,) * 3}
    settings |= {"begin_with": "a/run", "patch": (16, 16), "split": {"group": '^(\\d+"?)'}}
    texts = []
    for more in ({"ignore": 9}, {"threshold": 127}):  # one excludes the other
        config = TrainConfig(**settings, **more)
        write_config(tmp_path / "config.toml", config, FACTS)
        texts.append((tmp_path / "config.toml").read_text())
        assert read_config(tmp_path / "config.toml") == config
    assert all(field.name in "".join(texts) for field in dataclasses.fields(TrainConfig))


def test_read_config_overrides_win_and_none_does_not(tmp_path):
    (tmp_path / "c.toml").write_text('epochs = 3\nloss = "ce"\n')
    config = read_config(tmp_path / "c.toml", epochs=7, loss=None)
    assert (config.epochs, config.loss) == (7, "ce")


def test_as_dict_is_plain_and_inverts():
    config = TrainConfig(labels=(1, 3))
    assert as_dict(config)["labels"] == [1, 3] and "spacing" not in as_dict(config)
    assert from_dict(as_dict(config)) == config


@pytest.mark.parametrize(
    ("weighting", "options", "expected"),
    [
        ("increase", {}, Increase()),
        ("constant", {"alpha": 0.05}, Constant(0.05)),
        ("rebalance", {"start": 0.01}, Rebalance(start=0.01)),
    ],
)
def test_make_weighting_builds_what_is_named(weighting, options, expected):
    assert TrainConfig(weighting=weighting, weighting_options=options).make_weighting() == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epoch": 3}, "epoch.*did you mean 'epochs'"),
        ({"loss": "gld+boundary"}, "did you mean 'gdl\\+boundary'"),
        ({"loss": "gdl+my loss.Loss"}, "unknown loss: 'gdl\\+my loss.Loss'"),
        ({"loss_options": {"power": 2}}, "import path, but 'gdl\\+boundary' has 0 of them; leave them out"),
        ({"loss": "a.B+c.D", "loss_options": {"power": 2}}, "has 2 of them; give one a name of its own"),
        ({"weighting": "grow"}, "unknown weighting"),
        ({"weighting_options": {"rato": 1.0}}, "did you mean 'ratio'"),
        ({"weighting_options": {"ratio": -1.0}}, "ratio must be"),
        ({"epochs": 0}, "epochs must be greater than 0"),
        ({"epochs": "ten"}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"seed": -1}, "seed must be greater than or equal to 0, got -1"),
        ({"seed": 2**32}, "seed must be less than 4294967296, got 4294967296"),
        ({"halve_after": -1}, "halve_after must be greater than or equal to 0"),
        ({"halve_after": 5, "validation": 0}, "halve_after watches the validation share"),
        ({"halve_after": 5, "decay": True}, "choose one"),
        ({"decay": 0.9}, "decay must be true or false"),
        ({"validation": 1.0}, "validation must be less than 1, got 1.0"),
        ({"features": [8, 8]}, "features must have at least 3 items"),
        ({"features": [8, 8, 8]}, "five"),
        ({"spacing": [1.0, 0.0]}, "spacing \\(at 2\\) must be greater than 0"),
        ({"labels": 3}, "labels must be a list"),
        ({"ignore": 0}, "ignore must be greater than or equal to 1, got 0"),
        ({"ignore": 2.0}, "ignore must be a whole number"),
        ({"ignore": True}, "ignore must be a whole number"),
        ({"ignore": 3, "labels": [3]}, "3 is one of the labels to keep"),
        ({"threshold": "half"}, "threshold must be a number"),
        ({"threshold": float("nan")}, "threshold must be a finite number"),
        ({"threshold": 127, "ignore": 9}, "threshold leaves nothing but 0 and 1"),
        ({"split": "^(.+)_"}, "split must be a table"),
        ({"split": {"patient": "^(.+)_"}}, "unknown setting in .split.: 'patient'"),
        ({"split": {"group": "^("}}, "is no regular expression"),
        ({"split": {"group": "^p"}}, "has no parentheses"),
    ],
)
def test_from_dict_names_what_is_wrong(settings, words):
    with pytest.raises(UserError, match=words):
        from_dict(settings)


def test_read_config_missing_file_and_bad_toml(tmp_path):
    with pytest.raises(UserError, match="cannot read the configuration"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(UserError, match="not valid TOML"):
        read_config(tmp_path / "bad.toml")


WRONG = [
    "3\n",
    -1,
    3.5,
    True,
    float("nan"),
    float("inf"),
    [],
    ["x\ny"],
    [[1]],
    {"x": "y"},
    {},
    None,
    10**30,
    b"x",
]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainConfig)])
def test_from_dict_takes_a_value_or_says_one_line(name):
    refused = 0
    for value in WRONG:
        try:
            from_dict({name: value})
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and "pydantic" not in str(error)
    assert refused


def test_ratio_trains_the_region_loss_alone_for_two_thirds_of_the_run():
    ratios = [TrainConfig(weighting="ratio", epochs=9).make_weighting().at(epoch) for epoch in range(9)]
    assert ratios == [0] * 6 + [0.5] * 3
    from_scratch = TrainConfig(weighting="ratio", epochs=10, weighting_options={"start": 0}).make_weighting()
    assert [from_scratch.at(epoch) for epoch in range(3)] == [0, 0.25, 0.5]


@pytest.mark.parametrize(
    ("loss", "form", "ratio"),
    [
        ("ce+boundary", "log", 0.5),
        ("ce+boundary", "linear", 0.3),
        ("ce+monai.BoundaryLoss", "log", 0.3),
    ],
)
def test_ratio_is_what_the_term_bears(loss, form, ratio):
    assert TrainConfig(loss=loss, form=form).make_weighting().at(99) == ratio
    given = TrainConfig(loss=loss, form=form, weighting_options={"ratio": 0.2})
    assert given.make_weighting().at(99) == 0.2


@pytest.mark.parametrize("start", [0.67, 9, 10])
def test_ratio_refuses_a_start_that_leaves_nothing(start):
    with pytest.raises(UserError, match=r"start counts epochs, of which there are 10; .* give 5,"):
        TrainConfig(weighting="ratio", epochs=10, weighting_options={"start": start})


VALUES = {  # of each setting, some that go together with all others
    "loss": ["gdl", "dicece+boundary", "ce+monai.BoundaryLoss"],
    "loss_options": [{}],
    "form": ["log", "linear"],
    "balance_lesions": [True, False],
    "saturation": [2, 0.5],
    "weighting": ["increase", "rebalance"],
    "epochs": [1, 7],
    "learning_rate": [1, 1e-5],
    "decay": [True],
    "validation": [0, 0.25],
    "features": [(1, 2, 3, 4, 5)],
    "labels": [(1, 3), (-7,)],
    "split": [{"group": r"(p\d+) \"é"}],
    "spacing": [(1, 0.5)],
    "window": [(-160, 240.5)],
    "patch": [(32, 32), (16, 16, 16)],
    "augment": [("flip", "noise"), ()],
    "cache": ["none", 'a "folder"\x7f'],
}


@pytest.mark.parametrize("seed", range(20))
def test_read_config_gives_back_what_was_written(tmp_path, seed):
    chance = random.Random(seed)
    chosen = {name: chance.choice(values) for name, values in VALUES.items() if chance.random() < 0.5}
    config = TrainConfig(**{"form": "log", **chosen})
    write_config(tmp_path / "config.toml", config, {"channels": 1, "spacing": [1.0, 2.0]})
    again = read_config(tmp_path / "config.toml")
    assert again == config and as_dict(again) == as_dict(config)
