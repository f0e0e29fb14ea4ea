import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import nnunet
from PIL import Image

from boundaryloss import cli
from boundaryloss.commands.common import SHOWN, print_summary
from boundaryloss.files import directories, locked
from boundaryloss.training.callbacks import Steps
from boundaryloss.training.config import TrainConfig, read_config

COMMANDS = (
    "demo",
    "check",
    "train",
    "predict",
    "evaluate",
    "compare",
    "report",
    "export",
    "convert",
    "distmap",
    "info",
    "nnunet-path",
)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for index in range(6):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 4 + index : 12 + index] = 3
        image = np.where(mask > 0, 220, rng.integers(0, 60, (32, 32))).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"data/images/p{index}_z0.png")
        Image.fromarray(mask).save(tmp_path / f"data/masks/p{index}_z0.png")
    (tmp_path / "two.toml").write_text(
        'data = "data"\nseeds = [0]\nfolds = [["p0", "p1"]]\n[train]\nepochs = 1\n'
        'features = [4, 4, 4, 4, 4]\naccelerator = "cpu"\n'
        '[methods.GDL]\nloss = "gdl"\n[methods.both]\nloss = "gdl+boundary"\n'
    )
    (tmp_path / "typo.toml").write_text('data = "data"\n[methods.GDL]\nlos = "gdl"\n')
    (tmp_path / "tiny.toml").write_text('features = [4, 4, 4, 4, 4]\naccelerator = "cpu"\n')
    return tmp_path


def run(*args) -> int:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([str(arg) for arg in args])
    return exit_info.value.code


def test_train_finds_the_run_to_begin_with_beside_the_configuration(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/c.toml").write_text('begin_with = "nowhere"\n')
    assert run("train", "phantom", "--out", tmp_path / "run", "--config", tmp_path / "sub/c.toml") == 2
    assert f"{tmp_path}/sub/nowhere holds no checkpoints" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_help_lists_the_commands_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom boundaryloss import cli\n"
        "for command in ([], *([name] for name in sys.argv[1:])):\n"
        "    try: cli.main([*command, '--help'])\n"
        "    except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'monai', 'lightning', 'matplotlib', 'scipy', 'rich', 'pydantic'}\n"
        "heavy &= set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True)
    assert done.stderr.strip() == "[]" and done.stdout.count("Usage: ") == 1 + len(COMMANDS)
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout and f"Usage: boundaryloss {name} " in done.stdout


def test_help_lists_whole_sentences_and_every_command_shows_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run() == 0
    bare = capsys.readouterr().out
    assert run("--help") == 0 and capsys.readouterr().out == bare
    for name in COMMANDS:
        (line,) = (line for line in bare.splitlines() if line.startswith(f"  {name} "))
        assert line.endswith(".") and not line.endswith("...")
        assert run(name, "--help") == 0
        (_, examples) = re.split(r"\n  Examples?:\n", capsys.readouterr().out)
        assert all(f"boundaryloss {name}" in line for line in examples.splitlines())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_emits_a_script_and_completes(shell, capsys, monkeypatch):
    monkeypatch.setenv("_BOUNDARYLOSS_COMPLETE", f"{shell}_source")
    assert run() == 0 and f"_BOUNDARYLOSS_COMPLETE={shell}_complete" in capsys.readouterr().out
    monkeypatch.setenv("_BOUNDARYLOSS_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "boundaryloss ev")
    monkeypatch.setenv("COMP_CWORD", "ev" if shell == "fish" else "1")
    assert run() == 0 and "evaluate" in capsys.readouterr().out


def test_train_predict_evaluate_in_turn(folder, capfd):
    config = ("--config", folder / "tiny.toml", "--epochs", 2)
    assert (
        run("train", folder / "data", "--out", folder / "run", "--labels", 3, "--test-prefix", "p5", *config)
        == 0
    )
    out, err = capfd.readouterr()
    assert "sensitivity" in out and "test case 1/1" in err.splitlines()[-1]
    results, following = out.splitlines()[-2:]
    assert results.startswith(f"results: {folder / 'run/summary.csv'}")
    assert following.startswith(f"next: boundaryloss predict {folder / 'run'} ")
    assert (folder / "run/cases.csv").read_text().splitlines()[1].startswith("p5_z0,3,")
    assert run("check", folder / "data", "--from", folder / "run", "--labels", 3) == 2
    assert "was trained with features = [4, 4, 4, 4, 4], not" in capfd.readouterr().err
    arguments = ("predict", folder / "run", folder / "data/images", "--out", folder / "predicted", "--device")
    assert run(*arguments, "cuda:99") == 2 and not (folder / "predicted").exists()
    assert capfd.readouterr().err.startswith("boundaryloss: no device cuda:99 here; there is cpu")
    assert run(*arguments, "cpu") == 0
    assert len(list((folder / "predicted").glob("*.png"))) == 6
    assert run("evaluate", folder / "predicted", folder / "data/masks", "--out", folder / "scores") == 0
    assert {"cases.csv", "summary.csv"} <= {path.name for path in (folder / "scores").iterdir()}


def test_compare_leaves_a_report_and_goes_on_where_it_was(folder, capfd):
    arguments = ("compare", folder / "two.toml", "--out", folder / "out")
    assert run(*arguments) == 0
    out, _ = capfd.readouterr()
    assert "Not judged" in out and out.splitlines()[-1] == f"report: {folder / 'out/report.html'}"
    assert (folder / "out/summary.csv").read_text().count("\n") == 1 + 2 * 7 + 1
    (folder / "out/report.html").unlink()
    assert run(*arguments) == 0 and (folder / "out/report.html").exists()


@pytest.mark.slow
def test_compare_in_shards_is_reported_by_the_whole(folder, capfd, monkeypatch):
    arguments = ("compare", folder / "two.toml", "--out", folder / "out")
    assert run(*arguments, "--shard", "2/2") == 0
    assert [path.name for path in (folder / "out/runs").iterdir()] == ["both-fold0-seed0"]
    with locked(folder / "out", (2, 2)):
        capfd.readouterr()
        assert run(*arguments, "--shard", "1/2") == 0
        assert capfd.readouterr().out.startswith("shard 1/2 is done; when all are")
    assert not (folder / "out/report.html").exists()
    monkeypatch.setattr("boundaryloss.comparison.parts.train", None)  # nothing is trained again
    assert run(*arguments) == 0 and (folder / "out/report.html").exists()


@pytest.mark.parametrize("part", [(1, 2), None])
def test_compare_is_refused_where_another_is_at_work(folder, capfd, monkeypatch, part):
    monkeypatch.setattr(directories, "PATIENCE", 0.0)
    shard = ("--shard", "1/2") if part is None else ()
    with locked(folder / "out", part):
        assert run("compare", folder / "two.toml", "--out", folder / "out", *shard) == 2
    err = capfd.readouterr().err
    assert "out is in use by another command" in err and err.count("\n") == 1


def test_compare_on_a_cluster_says_what_to_install(folder, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run("compare", folder / "two.toml", "--out", folder / "out", "--cluster", "tcp://here:1") == 2
    assert (
        capfd.readouterr().err
        == 'boundaryloss: --cluster needs distributed: pip install "boundaryloss[cluster]"\n'
    )
    assert not (folder / "out").exists()


def test_compare_killed_takes_its_workers_with_it_and_goes_on(folder):
    text = (folder / "two.toml").read_text().replace("epochs = 1", 'weighting = "constant"\nepochs = 1')
    (folder / "long.toml").write_text(text.replace("epochs = 1", "epochs = 100000"))
    arguments = ("compare", folder / "long.toml", "--out", folder / "out", "--jobs", 2)
    process = subprocess.Popen(
        [sys.executable, "-m", "boundaryloss.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while len(list((folder / "out").glob("runs/*/metrics.csv"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()  # ends when the last process that holds its output does
    done = max(path.read_text().count("\n") for path in (folder / "out").glob("runs/*/metrics.csv"))
    (folder / "long.toml").write_text(text.replace("epochs = 1", f"epochs = {done + 2}"))
    assert run(*arguments) == 0
    assert (folder / "out/report.html").exists()


def test_distmap_writes_a_map(folder):
    assert run("distmap", folder / "data/masks/p0_z0.png", "--out", folder / "map.tif") == 0
    assert (folder / "map.tif").stat().st_size > 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train", "{}/data", "--out", "{}/data"), "is not empty"),
        (("train", "{}/nowhere", "--out", "{}/run"), "nowhere"),
        (("train", "{}/data", "--out", "{}/run", "--loss", "gdl+boundry"), "did you mean 'gdl+boundary'"),
        (("train", "{}/data", "--out", "{}/run", "--epochs", "0"), "epochs must be greater than 0"),
        (
            ("train", "{}/data", "--out", "{}/run", "--labels", "x"),
            "'--labels': give whole numbers such as 3 or 1,3, got 'x'",
        ),
        (
            ("train", "{}/data", "--out", "{}/run", "--config", "{}/none.toml"),
            "cannot read the configuration",
        ),
        (("train", "{}/data", "--out", "{}/tiny.toml/run"), "cannot make the directory"),
        (("check", "{}/nowhere"), "nowhere"),
        (("check", "{}/data", "--config", "{}/typo.toml"), "unknown setting"),
        (("check", "{}/data", "--from", "{}/data"), "holds no checkpoints"),
        (("check", "{}/data", "--fold", "9"), "fold"),
        (("check", "phantom", "--labels", "3"), "the phantom has its own labels"),
        (("predict", "{}/data", "{}/data", "--out", "{}/out"), "no checkpoints/last.ckpt"),
        (("evaluate", "{}/nowhere", "{}/data/masks", "--out", "{}/out"), "nowhere"),
        (("distmap", "{}/nowhere.png", "--out", "{}/map.tif"), "nowhere.png"),
        (("compare", "{}/typo.toml", "--out", "{}/out"), 'unknown setting in [methods."GDL"]'),
        (("compare", "{}/two.toml", "--out", "{}/data"), "is not empty"),
        (("compare", "{}/two.toml", "--out", "{}/out", "--data", "{}/none"), "none: no such folder"),
        (("compare", "{}/two.toml", "--out", "{}/tiny.toml/out"), "cannot make the directory"),
        (("compare", "{}/none.toml", "--out", "{}/out"), "cannot read the configuration"),
        (("compare", "{}/two.toml", "--out", "{}/out", "--jobs", "0"), "--jobs"),
        (("compare", "{}/two.toml", "--out", "{}/out", "--shard", "3/2"), "give K/N, the K-th of N parts"),
        (("compare", "{}/two.toml", "--out", "{}/out", "--shard", "0/2"), "such as 1/8, got '0/2'"),
        (("compare", "{}/two.toml", "--out", "{}/out", "--shard", "1"), "got '1'"),
        (("compare", "{}/two.toml", "--out", "{}/out", "--cluster", "x", "--jobs", "2"), "leave --jobs"),
        (("convert", "acdc", "{}/data", "{}/out"), "holds no case of acdc"),
        (("convert", "adcd", "{}/data", "{}/out"), "acdc"),
        (("demo", "--out", "{}"), "is not empty"),
        (("demo", "--seeds", "0"), "--seeds"),
        (("train",), "DATA"),
        (("tarin",), "tarin"),
    ],
)
def test_errors_are_one_line_and_exit_2(folder, capfd, args, words):
    assert run(*(arg.format(folder) for arg in args)) == 2
    out, err = capfd.readouterr()
    assert out == "" and words in err and err.startswith("boundaryloss: ") and err.count("\n") == 1


def test_interrupt_is_one_line_and_leaves_a_run(folder, capfd, monkeypatch, heeded):
    def interrupt(self, trainer, *_):
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Steps, "on_train_batch_end", interrupt)
    config = ("--config", folder / "tiny.toml", "--epochs", 3)
    assert run("train", folder / "data", "--out", folder / "run", *config) == 130
    assert capfd.readouterr().err.splitlines()[-1].startswith("boundaryloss: interrupted")
    assert (folder / "run/checkpoints/last.ckpt").exists()
    rows = (folder / "run/metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,loss,region,boundary") and len(rows) == 2


def test_train_predict_and_evaluate_skip_and_count_bad_volumes(tmp_path, capfd):
    data = nnunet(tmp_path / "data")
    (data / "imagesTr/c3_0000.nii.gz").write_bytes(b"no volume")
    (tmp_path / "c.toml").write_text(
        'epochs = 1\npatch = [16, 16, 8]\nnetwork = "dynunet"\nfeatures = [4, 8, 8]\naccelerator = "cpu"\n'
    )
    arguments = ("train", data, "--out", tmp_path / "run", "--config", tmp_path / "c.toml")
    assert run(*arguments) == 2
    err = capfd.readouterr().err
    assert (
        "c3_0000.nii.gz: cannot be read" in err and err.count("\n") == 1 and not (tmp_path / "run").exists()
    )
    assert run(*arguments, "--skip-bad") == 0
    err = capfd.readouterr().err
    assert err.startswith("skipped: ") and "1 bad case skipped\n" in err
    assert "c3_0000" in (tmp_path / "run/skipped.txt").read_text()

    arguments = ("predict", tmp_path / "run", data / "imagesTr", "--out", tmp_path / "out")
    assert run(*arguments) == 2 and not (tmp_path / "out").exists()
    assert run(*arguments, "--skip-bad") == 0
    assert capfd.readouterr().out == f"4 label files in {tmp_path / 'out'}\n"

    (tmp_path / "out/c0.nii.gz").write_bytes(b"no volume")
    arguments = ("evaluate", tmp_path / "out", data, "--out", tmp_path / "scores", "--only-predicted")
    assert run(*arguments) == 2 and not (tmp_path / "scores").exists()
    assert run(*arguments, "--skip-bad", "--tolerance", 2) == 0
    assert "1 bad case skipped\n" in capfd.readouterr().err
    assert len((tmp_path / "scores/cases.csv").read_text().splitlines()) == 4


def test_train_goes_on_where_it_was(folder, capfd):
    config = ("--config", folder / "tiny.toml", "--epochs", 1)
    assert run("train", folder / "data", "--out", folder / "run", *config, "--test-prefix", "p4") == 0
    assert run("train", folder / "data", "--out", folder / "run", "--epochs", 3) == 2
    assert "exists and is not empty" in capfd.readouterr().err
    splits = (folder / "run/splits.json").read_text()
    for name in ("config.toml", "splits.json"):
        (folder / "run" / name).write_text("{damaged")
    again = ("train", folder / "data", "--out", folder / "run", "--resume", "--test-prefix", "p4")
    assert run(*again, "--epochs", 3) == 0
    assert "config.toml is not valid TOML" in (err := capfd.readouterr().err)
    assert "written again as the checkpoint has it" in err
    assert (folder / "run/splits.json").read_text() == splits
    assert len((folder / "run/metrics.csv").read_text().splitlines()) == 4
    assert run("train", folder / "data", "--out", folder / "run", "--seed", 3, "--resume") == 2
    assert "begun with seed = 0, not 3" in capfd.readouterr().err


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_check_says_what_train_would_find_and_writes_nothing(folder, capfd):
    before = files(folder)
    options = ("--labels", 3, "--test-prefix", "p5", "--config", folder / "tiny.toml")
    assert run("check", folder / "data", *options) == 0
    out, err = capfd.readouterr()
    assert (files(folder), err) == (before, "")
    assert out.splitlines() == [
        "label 3: 384 voxels (6.2 %) in 6 of 6 cases",
        "train: 5 cases of 5 patients, 5 objects",
        "test: 1 case of 1 patient, 1 object",
        "validation = 0.1 of the training cases is no whole patient: there will be no best.ckpt",
        "basicunet: sees whole slices; a voxel is 1 x 1 mm; channels: 1",
        "epochs: 100 of 1 steps with batches of 8",
        "memory for the cases: 0.0307 MB",
        f"no fault found; next, with the same options: boundaryloss train {folder / 'data'} --out RUN",
    ]


def test_check_lists_every_fault(folder, capfd):
    (folder / "data/images/p1_z0.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "data/masks/p2_z0.png")
    arguments = ("check", folder / "data", "--test-prefix", "p5", "--labels", 4)
    assert run(*arguments) == 2
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 3 and all(line.startswith("boundaryloss: ") for line in lines)
    assert "p1_z0.png" in lines[0] and "p2_z0.png" in lines[1] and "no label 4 to keep" in lines[2]
    assert run(*arguments[:-2], "--skip-bad") == 0
    out, err = capfd.readouterr()
    assert "in 4 of 4 cases" in out and err.endswith("\n2 bad cases skipped\n")


@pytest.mark.parametrize("cache", ["memory", "none", "kept"])
def test_check_of_volumes_prepares_none(tmp_path, capfd, cache):
    data = nnunet(tmp_path / "data")
    settings = 'patch = [16, 16, 8]\nnetwork = "dynunet"\nfeatures = [4, 8, 8]\naccelerator = "cpu"\n'
    (tmp_path / "c.toml").write_text(f'{settings}cache = "{cache}"\n')
    before = files(tmp_path)
    assert run("check", data, "--config", tmp_path / "c.toml") == 0
    out, _ = capfd.readouterr()
    assert files(tmp_path) == before and "dynunet: sees patches of 16 x 16 x 8 voxels; a voxel is " in out
    words = {
        "memory": "memory for the cases: ",
        "none": "steps with",
        "kept": "disc for the cases, in kept: ",
    }
    assert words[cache] in out.splitlines()[-2]


def test_train_leaves_nothing_behind_when_the_data_are_bad(tmp_path):
    assert run("train", tmp_path / "nowhere", "--out", tmp_path / "run") == 2
    assert not (tmp_path / "run").exists()


def test_distmap_takes_contour_spacing_and_labels(folder, capfd):
    labels, out = folder / "data/masks/p0_z0.png", folder / "map.tif"
    assert run("distmap", labels, "--out", out, "--spacing", "2,0.5", "--labels", "3") == 0
    assert str(folder / "map.png") in capfd.readouterr().out
    assert run("distmap", labels, "--out", out, "--spacing", "2,0.5", "--contour", "centers") == 2
    assert run("distmap", labels, "--out", out, "--spacing", "wide") == 2
    assert all(len(line) > 0 for line in capfd.readouterr().err.splitlines())


def test_nnunet_path_is_a_folder_with_nothing_but_trainers(capfd):
    assert run("nnunet-path") == 0
    modules = Path(capfd.readouterr().out.strip()).glob("[!_]*")
    assert [path.name for path in modules] == ["nnunet_boundary_trainers.py"]  # others would hide packages


def test_evaluate_judges_only_what_is_predicted_when_told(folder):
    predicted = folder / "predicted"
    predicted.mkdir()
    (predicted / "p0_z0.png").write_bytes((folder / "data/masks/p0_z0.png").read_bytes())
    arguments = ("evaluate", predicted, folder / "data/masks", "--out", folder / "scores")
    assert run(*arguments) == 2
    assert run(*arguments, "--only-predicted", "--spacing", "2,2") == 0


@pytest.mark.parametrize("count", [1, 117])
def test_print_summary_has_a_row_per_label_within_80_columns(capsys, count):
    row = dict.fromkeys(SHOWN, 0.9375) | {"cases": 100, "cases_with_truth": 100, "hd95_mm": 1234.5}
    row |= {"contour": "faces", "patients": 99, "dice_low": 0.8125, "dice_high": float("nan")}
    rows = [SimpleNamespace(**{**row, "label": 65000 + index}) for index in range(count)]
    print_summary(rows)
    *table, interval = capsys.readouterr().out.splitlines()
    assert interval == "contour: faces; low, high: 95 % bootstrap interval over 99 patients"
    assert [line.split() for line in table[-2:]] == [["low", "0.8125"], ["high", "nan"]]
    assert max(map(len, table)) <= 80 and "…" not in "".join(table)
    for index in range(count):
        (line,) = (line for line in table if line.lstrip().startswith(str(65000 + index)))
        assert line.count("0.9375") == 6 and "1234" in line


def test_train_prints_a_schema_of_every_setting(capsys):
    assert run("train", "--print-schema") == 0
    schema = json.loads(capsys.readouterr().out)
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(schema["properties"]) == names and schema["additionalProperties"] is False
    assert all(item["description"] for item in schema["properties"].values())


def test_train_prints_its_settings_as_a_file_that_it_reads(tmp_path, capsys):
    assert run("train", "--print-config") == 0
    (tmp_path / "all.toml").write_text(text := capsys.readouterr().out)
    assert read_config(tmp_path / "all.toml") == TrainConfig()
    for field in dataclasses.fields(TrainConfig):
        assert re.search(rf"^# .+\n(# )?({field.name} =|\[{field.name}\])", text, re.MULTILINE), field.name
    (tmp_path / "own.toml").write_text(
        'loss = "gdl+monai.losses.HausdorffDTLoss"\nbegin_with = "r \\"1\\""\npatch = [32, 48]\n'
        '[loss_options]\nsoftmax = true\nnested = { "a b" = [1e-9] }\n[split]\ngroup = "^(\\\\w+)_"\n'
    )
    options = ("--config", tmp_path / "own.toml", "--epochs", 7, "--labels", "3,1")
    assert run("train", "--print-config", *options) == 0
    (tmp_path / "again.toml").write_text(text := capsys.readouterr().out)
    config = read_config(tmp_path / "again.toml")
    own = read_config(tmp_path / "own.toml", epochs=7, labels=(3, 1))
    assert config == dataclasses.replace(own, begin_with=str(tmp_path / 'r "1"'))
    assert "\nepochs = 7  # default: 100\n" in text and "\nlabels = [3, 1]\n" in text
