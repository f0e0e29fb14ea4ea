import json

import pytest

from boundaryloss.files.dataset_json import read_description
from boundaryloss.files.errors import UserError

NNUNET = {"channel_names": {"0": "CT", "1": "MR"}, "labels": {"background": 0, "lesion": 1, "rim": 2}}
DECATHLON = {
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "lesion"},
    "training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}],
}
REGIONS = NNUNET | {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}


def read(tmp_path, content, encoding="utf-8"):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "dataset.json").write_text(text, encoding=encoding)
    return read_description(tmp_path / "dataset.json")


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "names",
    [
        {"0": "CT", "1": "MR"},
        {"1": "MR", "0": "CT"},
        {"CT": 0, "MR": 1},
        {"CT": "0", "MR": "1"},
        ["CT", "MR"],
        {str(i): name for i, name in enumerate(["CT", "MR"])},
    ],
)
def test_read_description_orders_channels(tmp_path, names):
    assert read(tmp_path, NNUNET | {"channel_names": names}).modalities == ("CT", "MR")


def test_read_description_orders_many_channels_by_number(tmp_path):
    names = {str(i): f"c{i}" for i in sorted(range(12), key=str)}
    assert read(tmp_path, NNUNET | {"channel_names": names}).modalities == tuple(f"c{i}" for i in range(12))


@pytest.mark.parametrize(
    "names",
    [{}, [], None, 3, "CT", {"0": "CT", "2": "MR"}, {"1": "CT"}, {"a": 0, "b": 0}, {"a": 1}, {"0": ["CT"]},
     {"0": "CT", "00": "MR"}, {"CT": "MR"}, {"-1": "CT"}, {"\u0660": "CT"}, [["CT"]], {"0": None}],
)  # fmt: skip
def test_read_description_refuses_channels(tmp_path, names):
    with pytest.raises(UserError, match="channel_names must be a table such as"):
        read(tmp_path, NNUNET | {"channel_names": names})


@pytest.mark.parametrize("content", [NNUNET, DECATHLON])
@pytest.mark.parametrize(
    ("labels", "values", "ignore"),
    [
        ({"background": 0, "a": 2, "b": 1}, (1, 2), None),
        ({"0": "background", "2": "a", "1": "b"}, (1, 2), None),
        ({"background": "0", "a": "1"}, (1,), None),
        ({"background": 0.0, "a": 1.0}, (1,), None),
        ({"background": 0, "a": 1, "ignore": 2}, (1,), 2),
        ({"a": 500}, (500,), None),
    ],
)
def test_read_description_reads_labels_either_way_round(tmp_path, content, labels, values, ignore):
    found = read(tmp_path, content | {"labels": labels})
    assert (found.label_values, found.ignore, found.regions) == (values, ignore, ())


def test_read_description_lets_the_decathlon_name_its_background(tmp_path):
    labels = {"0": "nothing", "1": "lesion"}
    assert read(tmp_path, DECATHLON | {"labels": labels}).label_values == (1,)
    with pytest.raises(UserError, match="the label 0 must be the background"):
        read(tmp_path, NNUNET | {"labels": labels})


def test_read_description_reads_regions(tmp_path):
    found = read(tmp_path, REGIONS)
    assert (found.regions, found.region_values, found.label_values) == (((1, 2), (2,)), (1, 2), (1, 2))


@pytest.mark.parametrize("content", [NNUNET, DECATHLON])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        *[(labels, '"labels" must be a table') for labels in (None, [], {}, ["a"], 3, "a", {"1": "2"})],
        *[
            ({"background": 0, "a": value}, "not a whole number")
            for value in (1.7, -1, 70000, 10**30, True, None, "x", {}, float("nan"), float("inf"), [1, [2]])
        ],
        ({"background": 0, "a": []}, "must be different whole numbers"),
        ({"background": 0, "a": [1, 1]}, "must be different whole numbers"),
        ({"background": 0, "a": 1, "b": 1}, "gives 1 two names"),
        ({"0": "background", "1": "a", "2": "a"}, "uses a name twice"),
        ({"background": 0, "a": [1, 2], "b": [1, 2]}, "gives 1, 2 two names"),
        ({"background": 0, "a": 1, "ignore": 1}, "gives 1 two names"),
        ({"background": 0, "a": 1, "ignore": 0}, "label 0 must be the background"),
        ({"background": 0, "a": 1, "ignore": [2, 3]}, "ignore must be one value"),
        ({"background": 1, "a": 2}, "label 0 must be the background"),
        ({"background": 0, "a": 0}, "label 0 must be the background"),
        ({"background": 0, "a": [0, 1]}, "label 0 must be the background"),
        ({"background": 0}, "no class beside the background"),
        ({"background": 0, "ignore": 1}, "no class beside the background"),
    ],
)
def test_read_description_refuses_labels(tmp_path, content, labels, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, content | {"labels": labels})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (REGIONS | {"regions_class_order": 3}, "regions_class_order must be a list"),
        (REGIONS | {"regions_class_order": ["1", "2"]}, "regions_class_order must be a list"),
        (REGIONS | {"regions_class_order": [1, 1]}, "one value for each of the 2 regions"),
        (REGIONS | {"regions_class_order": None}, "one value for each of the 2 regions"),
        (NNUNET | {"dataset": []}, '"dataset" must be a table'),
        (NNUNET | {"dataset": {}}, '"dataset" must be a table'),
        (NNUNET | {"dataset": {"a": {"images": "x.png", "label": "y.png"}}}, "'a' in \"dataset\" must have"),
        (NNUNET | {"dataset": {"a": {"images": [], "label": "y.png"}}}, "'a' in \"dataset\" must have"),
        (NNUNET | {"dataset": {"a": {"images": ["x"], "label": 3}}}, "'a' in \"dataset\" must have"),
        (DECATHLON | {"training": {}}, 'must have "training"'),
        (DECATHLON | {"training": []}, 'must have "training"'),
        (DECATHLON | {"training": [{"image": ["a"], "label": "b"}]}, 'must have "training"'),
        (DECATHLON | {"modality": {"1": "CT"}}, "modality must be a table"),
        (DECATHLON | {"modality": "CT"}, "modality must be a table"),
        (nested(100_000), "nested too deeply"),
        ('{"labels": ' + nested(900) + ', "channel_names": {"0": "a"}}', '"labels" must be a table'),
        ('{"labels": {"a": 1, "a": 2}}', "the key 'a' comes twice"),
        ('{"labels": {"a": 1' + "0" * 5000 + "}}", "not readable as JSON"),
        ("", "not readable as JSON"),
    ],
)
def test_read_description_names_what_is_wrong_in_one_line(tmp_path, content, words):
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_read_description_takes_a_byte_order_mark(tmp_path, encoding):
    assert read(tmp_path, NNUNET, encoding) == read(tmp_path, NNUNET)
