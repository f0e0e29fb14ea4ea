"""The trainer in nnU-Net itself, by its own commands: plan, train, continue, predict; and a report of it."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
from datasets import nnunet

from boundaryloss.report.results import read_results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("nnunetv2"), reason='needs nnU-Net: pip install "boundaryloss[nnunet]"'),
]

HOW_TO = Path(__file__).parents[2] / "docs/how-to/nnunet.md"
SHORT = """\
import torch
from boundaryloss import GradientRatio, Increase
from boundaryloss.integrations.nnunet import trainer

class {name}(trainer.{base}):
    weighting = {weighting}

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = {epochs}, 2, 1
        if self.is_ddp:
            self.device, self.grad_scaler = torch.device("cpu"), None
"""
DISTRIBUTED = """\
import sys
import torch
from nnunetv2.run import run_training
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as home
from torch.nn.parallel import DistributedDataParallel

def start(rank, store, *args):
    method = {"init_method": f"file://{store}", "world_size": 2, "rank": rank}
    run_training.setup_ddp = lambda *ranks: torch.distributed.init_process_group("gloo", **method)
    torch.cuda.set_device = lambda device: None
    home.DDP = lambda network, device_ids: DistributedDataParallel(network)
    run_training.run_ddp(rank, *args)

if __name__ == "__main__":
    store, fold, goes_on = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "--c"
    trainer = ("1", "3d_fullres", fold, "nnUNetTrainerShort", "nnUNetPlans")
    what = (*trainer, False, goes_on, False, None, True, False, 2)
    torch.multiprocessing.spawn(start, (store, *what), nprocs=2)
"""
SHAPE = (24, 20, 12)
LABELS = {"background": 0, "rim": 1, "core": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}
SCHEDULES = {
    "": "Increase(",
    "Ratio": "GradientRatio(",
    "Constant": "Constant(",
    "Rebalance": "Rebalance(",
    "Gentle": "Increase(",
    "WarmStart": "<property",  # of an instance: it depends on the epochs
}
DATASETS = {
    "plain": {"labels": LABELS},
    "ignore": {"labels": LABELS | {"ignore": 3}},
    "regions": {"labels": REGIONS, "regions_class_order": [1, 2]},
    "regions_ignore": {"labels": REGIONS | {"ignore": 3}, "regions_class_order": [1, 2]},
}


def command(folder, name, *args):
    """Run a command as a user does, with nnU-Net's folders and the trainers of a folder of the user's own."""
    paths = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    trainers = {"nnUNet_extTrainer": f"{folder / 'trainers'}{os.pathsep}{extension()}"}
    frugal = {"nnUNet_def_n_proc": "1"} | ({"nnUNet_n_proc_DA": "0"} if name == "nnUNetv2_train" else {})
    if name == "python":
        frugal["nnUNet_n_proc_DA"] = "0"
    done = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *args],
        env=os.environ | paths | trainers | frugal, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def extension():
    boundaryloss = Path(sys.executable).with_name("boundaryloss")
    return subprocess.run(
        [boundaryloss, "nnunet-path"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def planned(request, tmp_path_factory):
    """Six cases, planned and preprocessed for both configurations."""
    folder = tmp_path_factory.mktemp(request.param)
    nnunet(folder / "raw/Dataset001_Blocks", 6, shape=SHAPE, **DATASETS[request.param])
    command(
        folder, "nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "2d", "3d_fullres",
        "-npfp", "1", "-np", "1", "1", "--verify_dataset_integrity",
    )  # fmt: skip
    return folder


def results(folder, configuration, name="nnUNetTrainerShort"):
    return folder / f"results/Dataset001_Blocks/{name}__nnUNetPlans__{configuration}"


def write_trainer(
    folder,
    *,
    epochs,
    name="nnUNetTrainerShort",
    base="nnUNetTrainerBoundary",
    weighting="Increase(step=0.25)",
):
    (folder / "trainers").mkdir(exist_ok=True)
    code = SHORT.format(name=name, base=base, weighting=weighting, epochs=epochs)
    (folder / f"trainers/{name.lower()}.py").write_text(code)


def logged(run):
    return "".join(path.read_text() for path in sorted(run.glob("training_log_*.txt")))


def train(folder, configuration, fold, *args, **variant):
    """The training's whole log, also of the run that it continues."""
    write_trainer(folder, **variant)
    name = variant.get("name", "nnUNetTrainerShort")
    command(folder, "nnUNetv2_train", "1", configuration, fold, "-tr", name, "-device", "cpu", *args)
    return logged(results(folder, configuration, name) / f"fold_{fold}")


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("planned", DATASETS, indirect=True)
def test_trainer_trains_and_predicts(planned, configuration):
    log = train(planned, configuration, "0", epochs=2)
    losses = [float(value) for value in re.findall(r"train_loss (\S+)", log)]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert re.findall(r"boundary weight (\S+)", log) == ["0", "0.25"]

    images, out = planned / "raw/Dataset001_Blocks/imagesTr", planned / f"predicted_{configuration}"
    command(
        planned, "nnUNetv2_predict", "-d", "1", "-c", configuration, "-f", "0", "-tr", "nnUNetTrainerShort",
        "-i", images, "-o", out, "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta",
    )  # fmt: skip
    predictions = [np.asarray(nibabel.load(path).dataobj) for path in out.glob("*.nii.gz")]
    assert len(predictions) == 6
    assert all(p.shape == SHAPE and set(np.unique(p)) <= {0, 1, 2} for p in predictions)


@pytest.mark.parametrize("planned", ["plain"], indirect=True)
def test_trainer_continues_with_the_weights_of_its_epoch(planned):
    train(planned, "2d", "1", epochs=1)
    log = train(planned, "2d", "1", "--c", epochs=2)
    assert re.findall(r"boundary weight (\S+)", log) == ["0", "0.25"]


@pytest.mark.parametrize("planned", ["plain"], indirect=True)
def test_trainer_trains_in_two_processes_and_continues(planned):
    """As `-num_gpus 2` does, which nnU-Net has for CUDA alone: here with gloo, on the CPU."""
    (planned / "distributed.py").write_text(DISTRIBUTED)
    for epochs, goes_on in ((1, ""), (2, "--c")):
        write_trainer(planned, epochs=epochs)
        store = planned / f"store{epochs}"
        command(planned, "python", planned / "distributed.py", store, "4", goes_on)
    log = logged(results(planned, "3d_fullres") / "fold_4")
    assert re.findall(r"boundary weight (\S+)", log) == ["0", "0.25"]
    assert np.isfinite([float(value) for value in re.findall(r"train_loss (\S+)", log)]).all()
    assert len([*(results(planned, "3d_fullres") / "fold_4/validation").glob("*.npz")]) == 1


@pytest.mark.parametrize("planned", ["plain"], indirect=True)
def test_trainer_weighs_by_the_gradients(planned):
    variant = {"base": "nnUNetTrainerBoundaryRatio", "weighting": "GradientRatio(ramp=1)"}
    log = train(planned, "2d", "2", epochs=2, **variant)
    first, second = (float(weight) for weight in re.findall(r"boundary weight (\S+)", log))
    assert first == 0 < second < 100
    assert np.isfinite([float(value) for value in re.findall(r"train_loss (\S+)", log)]).all()


@pytest.mark.parametrize("planned", ["plain"], indirect=True)
def test_trainer_starts_warm(planned):
    base = "nnUNetTrainerBoundaryWarmStart"
    log = train(planned, "2d", "3", epochs=7, base=base, weighting=f"trainer.{base}.weighting")
    *before, last = (float(weight) for weight in re.findall(r"boundary weight (\S+)", log))
    assert before == [0] * 6 and 0 < last < 100  # it starts at 4.7; the first step after measures
    assert np.isfinite([float(value) for value in re.findall(r"train_loss (\S+)", log)]).all()


@pytest.mark.parametrize("variant", SCHEDULES)
def test_nnunet_finds_the_trainers_and_the_one_of_the_how_to(variant, tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    (tmp_path / "my_trainers.py").write_text(snippet)
    folders = f"{tmp_path}{os.pathsep}{extension()}"
    code = (
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        f"print('found', find('nnUNetTrainerBoundary{variant}').weighting)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"nnUNet_extTrainer": folders},
        capture_output=True, text=True,
    )  # fmt: skip
    assert f"found {SCHEDULES[variant]}" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("planned", ["plain"], indirect=True)
def test_study_of_two_trainers_and_two_folds(planned):
    variants = {"nnUNetTrainerPlain": "nnUNetTrainer", "nnUNetTrainerWithBoundary": "nnUNetTrainerBoundary"}
    for name, base in variants.items():
        for fold in ("0", "1"):
            train(planned, "3d_fullres", fold, "--npz", name=name, base=base, epochs=2)
    folders = [results(planned, "3d_fullres", name) for name in variants]
    out = planned / "out"
    said = command(planned, "boundaryloss", "report", *folders, "--out", out, "--jobs", "2")
    assert "Not judged, with fewer than 3 folds" in said and "report.html" in said

    study = read_results(out)
    assert len(study.thresholds) > 1  # of the probabilities
    for method, folder in zip(study.methods, folders, strict=True):
        for fold in ("0", "1"):
            summary = json.loads((folder / f"fold_{fold}/validation/summary.json").read_text())
            for case in summary["metric_per_case"]:
                at = study.cases.index(Path(case["prediction_file"]).name.removesuffix(".nii.gz"))
                for label in (1, 2):
                    dice = pytest.approx(case["metrics"][str(label)]["Dice"], nan_ok=True)
                    assert method.columns[label].dice[0, at] == dice
        assert np.isfinite(method.histories[0].validation_dice).all() and len(method.histories[0].epoch) == 2
        assert [run.train_cases for run in method.runs] == [4, 5]
    assert np.isfinite(study.methods[1].histories[0].boundary_weight).all()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "pseudo Dice" in page and "The weight of the boundary term" in page
