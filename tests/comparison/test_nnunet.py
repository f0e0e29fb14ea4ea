import json
import re
import shutil

import numpy as np
import pytest
from comparisons import found_in
from datasets import save, volume

from boundaryloss import cli
from boundaryloss.comparison.nnunet.cases import Case, judge
from boundaryloss.comparison.nnunet.log import read_log
from boundaryloss.comparison.nnunet.study import find_study
from boundaryloss.comparison.nnunet.write import write_study
from boundaryloss.files import UserError, read_labels, write_labels
from boundaryloss.report.comparison import write_comparison
from boundaryloss.report.findings import EQUAL, sentences
from boundaryloss.report.page import write_report
from boundaryloss.report.store import CaseScores, LesionScores, OperatingPoint, read_table
from boundaryloss.scoring import Pair, case_metrics

SHAPE = (9, 8, 7)
LABELS = {"background": 0, "rim": 1, "core": 2}
LOG = """\

#######################################################################
2026-09-30 23:58:01.123456: This split has 4 training and 2 validation cases.
2026-09-30 23:58:02.123456: Epoch 0
2026-09-30 23:58:02.223456: region weight 1, boundary weight 0.25
2026-09-30 23:58:09.123456: train_loss -0.5
2026-09-30 23:58:09.123456: val_loss 0.25
2026-09-30 23:58:09.123456: Pseudo dice [np.float32(0.5), np.float64(1.0), nan]
2026-09-30 23:58:09.123456: Epoch time: 7.5 s
2026-09-30 23:58:10.123456: Training done.
""".replace("\n", " \n")  # as nnU-Net ends its lines


def wrong_by_one(truth):
    return np.roll(truth, 1, axis=0)


def shares(labels):
    """Probabilities (class, z, y, x), as nnU-Net writes those of a NIfTI file (x, y, z)."""
    return np.moveaxis(0.1 + 0.7 * np.eye(3)[labels], (0, 1, 2, 3), (3, 2, 1, 0)).astype(np.float32)


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Six cases of nnU-Net, raw and preprocessed, as far as a report looks at them."""
    for index in range(6):
        image, truth = volume(index, SHAPE, (1, 2))
        save(tmp_path / f"raw/Dataset001_Blocks/imagesTr/c{index}_0000.nii.gz", image)
        save(tmp_path / f"raw/Dataset001_Blocks/labelsTr/c{index}.nii.gz", truth)
    describe(tmp_path / "raw/Dataset001_Blocks")
    for kind in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{kind}", str(tmp_path / kind))
    return tmp_path


def describe(folder, labels=LABELS, **more):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 6, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(content | more))


def trained(dataset, trainer, predict=wrong_by_one, folds=(0, 1, 2), npz=True, log=LOG, plans="nnUNetPlans"):
    """A folder as nnU-Net leaves it: of six cases two are predicted in every fold."""
    folder = dataset / f"results/Dataset001_Blocks/{trainer}__{plans}__3d_fullres"
    describe(folder)
    for fold in folds:
        validation = folder / f"fold_{fold}/validation"
        cases = [f"c{2 * fold}", f"c{2 * fold + 1}"]
        for case in cases:
            labels = predict(read_labels(dataset / f"raw/Dataset001_Blocks/labelsTr/{case}.nii.gz"))
            save(validation / f"{case}.nii.gz", labels.astype(np.uint8))
            if npz:
                np.savez_compressed(validation / f"{case}.npz", probabilities=shares(labels))
        entries = [{"prediction_file": f"/elsewhere/{case}.nii.gz"} for case in cases]
        (validation / "summary.json").write_text(json.dumps({"metric_per_case": entries}))
        if log:
            (folder / f"fold_{fold}/training_log_2026_9_30_23_58_01.txt").write_text(log)
        debug = {"device": "cuda:0", "gpu_name": "A GPU", "torch_version": "2.13.0"}
        (folder / f"fold_{fold}/debug.json").write_text(json.dumps(debug))
    return folder


def pair(dataset, **options):
    return [
        trained(dataset, "nnUNetTrainer", **options),
        trained(dataset, "nnUNetTrainerBoundary", lambda t: t, **options),
    ]


def compared(folders, out, **options):
    """The study, the results and the findings."""
    study = find_study(folders, **options)
    write_study(study, out)
    return study, *found_in(out)


def report(folders, out, **options):
    """The study, the results and the page."""
    study, results, findings = compared(folders, out, **options)
    return study, results, write_report(results, findings).read_text(encoding="utf-8")


def test_report_of_results_is_what_their_files_say(dataset):
    folders = pair(dataset)
    study, results, page = report(folders, dataset / "out")
    assert [method.name for method in results.methods] == ["nnUNetTrainer", "nnUNetTrainerBoundary"]
    assert results.cases == [f"c{index}" for index in range(6)] and not study.notes
    truth = read_labels(dataset / "raw/Dataset001_Blocks/labelsTr/c3.nii.gz")
    run = dataset / "out/runs/nnUNetTrainer__nnUNetPlans__3d_fullres-fold1"
    rows = [row for row in read_table(run / "cases.csv", CaseScores) if row.name == "c3"]
    assert rows == case_metrics(wrong_by_one(truth), truth, spacing=(1, 1, 2), name="c3")
    assert {row.outcome for row in read_table(run / "lesions.csv", LesionScores)} <= {
        "found",
        "missed",
        "false",
    }
    assert results.method("nnUNetTrainerBoundary").columns[2].dice.tolist() == [[1.0] * 6]
    assert "Dataset001_Blocks with nnU-Net" in page and "2 methods, 3 folds: 6 runs" in page
    assert "A GPU. " in page and "torch 2.13.0" in page
    assert "Every fold was trained once" in page and "seed" not in re.sub(
        r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.DOTALL
    )


def test_results_are_judged_by_folds_where_there_are_no_seeds(dataset):
    _, results, findings = compared(pair(dataset), dataset / "out")
    assert {finding.verdict for finding in findings if finding.measure.key == "dice"} == {"not significant"}
    write_comparison(results, findings)
    text = " ".join((dataset / "out/report.txt").read_text().split())
    assert "At least three folds and six cases are needed" in text and "seed" not in text
    _, results, findings = compared(pair(dataset), dataset / "less", folds=(0, 1))
    assert {finding.verdict for finding in findings} == {"not judged"}
    (said,) = sentences([findings[0]], results.repeated)
    assert said == "Not judged, with fewer than 3 folds or 6 cases or patients: Dice."


def test_probabilities_are_read_on_the_grid_of_the_file(dataset):
    _, results, _ = compared(pair(dataset), dataset / "out")
    run = dataset / "out/runs/nnUNetTrainerBoundary__nnUNetPlans__3d_fullres-fold2"
    points = [
        p for p in read_table(run / "operating_points.csv", OperatingPoint) if p.name == "c5" and p.label == 1
    ]
    assert {p.dice for p in points if 0.15 < p.threshold < 0.75} == {1.0}
    assert points[-1].lesions_found == 0 and len(results.thresholds) == len(points)


def test_judge_reads_the_probabilities_of_a_picture(tmp_path):
    truth = np.zeros((6, 5), np.uint8)
    truth[1:3, 2:4] = 1
    pair = Pair("a", tmp_path / "a.png", tmp_path / "truth.png")
    for path in (pair.prediction, pair.truth):
        write_labels(path, truth, (0, 1))
    np.savez(tmp_path / "a.npz", probabilities=np.stack([1 - 0.8 * truth, 0.8 * truth])[:, None])
    judged = judge(Case(pair, (0, 1), None, True, None))
    assert judged.rows[0].dice == 1 and {p.dice for p in judged.points if p.threshold < 0.75} == {1.0}
    assert (judged.prediction == truth).all() and not judged.image.any()


def test_report_without_probabilities_says_so(dataset):
    study, results, page = report(pair(dataset, npz=False, folds=(0,)), dataset / "out")
    assert results.thresholds.tolist() == [0.5] and "--npz" in study.notes[0] and study.notes[0] in page
    assert "Not known: only label maps were judged" in page and EQUAL.title not in page
    assert results.methods[0].points[1][0, 0, 0].tolist() == results.methods[0].columns[1].lesions[0].tolist()


def test_report_leaves_unlabelled_voxels_out(dataset):
    folders = pair(dataset)
    for folder in (*folders, dataset / "raw/Dataset001_Blocks"):
        describe(folder, LABELS | {"ignore": 3})
    path = dataset / "raw/Dataset001_Blocks/labelsTr/c0.nii.gz"
    truth = read_labels(path)
    wrong = wrong_by_one(truth) != truth
    save(path, np.where(wrong, 3, truth).astype(np.uint8))
    _, results, _ = compared(folders, dataset / "out")
    assert results.methods[0].columns[1].dice[0, 0] == results.methods[0].columns[2].dice[0, 0] == 1
    at_half = int(np.abs(results.thresholds - 0.5).argmin())
    assert results.methods[0].points[1][2, at_half, 0, 0] == 0  # no false lesion where nobody labelled


def test_study_takes_the_folds_that_all_have_and_says_so(dataset):
    folders = [trained(dataset, "nnUNetTrainer"), trained(dataset, "nnUNetTrainerBoundary", folds=(0, 2))]
    study = find_study(folders)
    assert [*study.folds] == [0, 2] and study.notes == ["Fold 1 is left out: not every result has it."]
    assert [*find_study(folders, folds=(2,)).folds] == [2]


def test_study_takes_another_baseline_first(dataset):
    study = find_study(pair(dataset), baseline="nnUNetTrainerBoundary")
    assert [result.name for result in study.results] == ["nnUNetTrainerBoundary", "nnUNetTrainer"]


def test_study_names_plans_where_they_differ(dataset):
    folders = [
        trained(dataset, "nnUNetTrainer", plans=plans) for plans in ("nnUNetPlans", "nnUNetResEncUNetLPlans")
    ]
    names = [result.name for result in find_study(folders).results]
    assert names == ["nnUNetTrainer, nnUNetPlans", "nnUNetTrainer, nnUNetResEncUNetLPlans"]


def test_study_finds_the_truth_where_nnunet_keeps_it(dataset, monkeypatch):
    folders = pair(dataset, folds=(0,))
    assert find_study(folders).truth == dataset / "raw/Dataset001_Blocks/labelsTr"
    kept = dataset / "preprocessed/Dataset001_Blocks/gt_segmentations"
    shutil.copytree(dataset / "raw/Dataset001_Blocks/labelsTr", kept)
    assert find_study(folders).truth == kept and len(find_study(folders).images) == 6
    monkeypatch.delenv("nnUNet_raw")
    assert find_study(folders).notes == ["2 of 2 images are not found; their pictures show outlines only."]
    monkeypatch.delenv("nnUNet_preprocessed")
    assert len(find_study(folders, truth=dataset / "raw/Dataset001_Blocks").images) == 6
    with pytest.raises(UserError, match="no true labels of Dataset001_Blocks; give them with --truth"):
        find_study(folders)


def test_log_goes_on_where_a_later_start_does(tmp_path):
    def says(*epochs):
        return "".join(
            LOG.replace("Epoch 0 ", f"Epoch {n} ").replace("-0.5", f"-{loss}") for n, loss in epochs
        )

    (tmp_path / "training_log_2026_9_30_23_58_01.txt").write_text(says((0, 1.0), (1, 2.0), (2, 3.0)))
    cut, _, _ = says((1, 1e-05)).partition("2026-09-30 23:58:09.123456: Epoch time")
    (tmp_path / "training_log_2026_10_1_00_00_01.txt").write_text(cut)
    log = read_log(tmp_path)
    assert [epoch.loss for epoch in log.epochs] == [-1.0, -1e-05] and log.train_cases == 4
    assert (log.epochs[0].validation_dice, log.epochs[0].boundary_weight, log.epochs[0].seconds) == (
        0.75,
        0.25,
        7.5,
    )
    assert log.seconds is None and log.finished == "2026-09-30 23:58" and not log.ended


def test_report_without_a_log_leaves_the_curves_out(dataset):
    study, results, page = report(pair(dataset, log=None, folds=(0,)), dataset / "out")
    assert "Learning curves" not in page and "minutes in all" not in page
    assert study.notes[0] in page and results.methods[0].runs[0].seconds is None


def test_study_says_when_a_later_training_did_not_end(dataset):
    folders = pair(dataset)
    begun = LOG.replace("Training done.", "")
    (folders[0] / "fold_1/training_log_2026_10_1_0_0_0.txt").write_text(begun)
    (note,) = find_study(folders).notes
    assert note.startswith("The last training of nnUNetTrainer did not end, says its log (fold 1)")


def test_report_says_when_folds_were_trained_for_different_epochs(dataset):
    folders = pair(dataset)
    (folders[0] / "fold_1/training_log_2026_10_1_0_0_0.txt").write_text(LOG.replace("Epoch 0", "Epoch 1"))
    study, results, _ = compared(folders, dataset / "out")
    (note,) = study.notes
    assert note.endswith("for different numbers of epochs: 1 (fold 0), 2 (fold 1), 1 (fold 2).")
    assert results.facts.methods[0].epochs is None
    assert np.isnan(results.methods[0].histories[0].loss[1])


def remove(path):
    return lambda folder: (
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()
    )


def write(path, content):
    return lambda folder: (folder / path).write_bytes(content)


def relabel(folder):
    save(folder / "fold_1/validation/c3.nii.gz", np.full(SHAPE, 7, np.uint8))


def shift(folder):
    save(folder / "fold_1/validation/c3.nii.gz", np.zeros(SHAPE, np.uint8), np.diag([1, 1, 3.0, 1]))


def shrink(folder):
    save(folder / "fold_1/validation/c3.nii.gz", np.zeros((9, 8, 6), np.uint8))


def probabilities(array):
    return lambda folder: np.savez_compressed(folder / "fold_1/validation/c3.npz", probabilities=array)


def begin_again(folder):
    (folder / "fold_1/checkpoint_latest.pth").touch()


def repeat(folder):
    for one in (folder, folder.with_name("nnUNetTrainer__nnUNetPlans__3d_fullres")):
        shutil.copy(one / "fold_0/validation/c0.nii.gz", one / "fold_1/validation/c0.nii.gz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: [remove(f"fold_{n}")(folder) for n in range(3)], "no fold_0, fold_1, ... in it"),
        (remove(""), "no such folder"),
        (remove("dataset.json"), "dataset.json: no such file"),
        (lambda folder: describe(folder, {"background": 0, "rim": 1}), "has other labels than that of"),
        (remove("fold_1/validation"), "fold_1: no validation/summary.json, so"),
        (remove("fold_1/validation/summary.json"), "is not finished; run nnUNetv2_train ... --val"),
        (begin_again, "fold_1: training is not finished; go on with nnUNetv2_train ... --c"),
        (write("fold_1/validation/summary.json", b"[]"), "is no summary of nnU-Net"),
        (remove("fold_1/validation/c3.nii.gz"), "no c3.nii.gz, which its summary.json has"),
        (write("fold_1/validation/c3.nii.gz", b"damaged"), "c3.nii.gz: cannot be read"),
        (relabel, "c3.nii.gz: label 7 is not in dataset.json"),
        (shift, "its affine is not that of"),
        (shrink, "9 x 8 x 6 voxels, but .* has 9 x 8 x 7"),
        (repeat, "c0 is in the validation of another fold"),
        (write("fold_1/validation/c3.npz", b"damaged"), "c3.npz: cannot be read"),
        (probabilities(np.zeros((2, 7, 8, 9))), r"\(2, 7, 8, 9\) of a prediction with 3 classes"),
        (probabilities(np.zeros((3, 9, 8, 7))), r"\(3, 9, 8, 7\) of a prediction with 3 classes"),
        (probabilities(np.zeros(3)), r"\(3,\) of a prediction with 3 classes"),
        (probabilities(np.full((3, 7, 8, 9), np.nan)), "must lie between 0 and 1"),
        (probabilities(np.eye(3)[0][:, None, None, None] * np.ones((7, 8, 9))), "are not those of c3.nii.gz"),
    ],
)  # fmt: skip
def test_wrong_results_are_refused_before_anything_is_written(dataset, change, words):
    folders = pair(dataset)
    change(folders[1])
    with pytest.raises(UserError, match=words) as refused:
        write_study(find_study(folders), dataset / "out")
    assert "\n" not in str(refused.value) and not (dataset / "out").exists()


def test_results_of_other_cases_are_refused(dataset):
    folders = pair(dataset)
    validation = folders[1] / "fold_1/validation"
    for suffix in (".nii.gz", ".npz"):
        (validation / f"c3{suffix}").unlink()
    (validation / "summary.json").write_text('{"metric_per_case": []}')
    with pytest.raises(
        UserError, match="only one of them has a prediction of c3; results must have the same"
    ):
        find_study(folders)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"baseline": "nnUNet"},
            "no result is called 'nnUNet'; give one of nnUNetTrainer, nnUNetTrainerBoundary",
        ),
        ({"folds": (0, 4)}, "has no fold_4; train it"),
    ],
)
def test_study_refuses_what_is_not_there(dataset, options, words):
    with pytest.raises(UserError, match=words):
        find_study(pair(dataset), **options)


def test_study_refuses_results_that_cannot_be_compared(dataset):
    first, second = pair(dataset, folds=(0,))
    with pytest.raises(UserError, match="nnUNetTrainer is given twice"):
        find_study([first, first])
    with pytest.raises(UserError, match="share no fold"):
        find_study([first, trained(dataset, "nnUNetTrainerOther", folds=(1,))])
    other = dataset / "results/Dataset002_Other" / second.name
    shutil.copytree(second, other)
    with pytest.raises(UserError, match="results of different datasets: Dataset001_Blocks, Dataset002_Other"):
        find_study([first, other])
    for folder in (first, second):
        describe(folder, {"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2])
    with pytest.raises(UserError, match="regions overlap, which no report shows yet"):
        find_study([first, second])
    shutil.move(second / "fold_0", second / "fold_all")
    with pytest.raises(UserError, match="fold_all is judged on what it was trained on"):
        find_study([second])


def run(*args):
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", *map(str, args)])
    return ended.value.code


def test_report_command_writes_a_comparison_and_draws_it_again(dataset, monkeypatch, capsys):
    folders, out = pair(dataset, folds=(0, 1), npz=False), dataset / "out"
    assert run(*folders, "--out", out, "--folds", "1", "--baseline", "nnUNetTrainerBoundary") == 0
    said = capsys.readouterr()
    assert (
        f"Truth: {dataset / 'raw/Dataset001_Blocks/labelsTr'}" in said.err
        and "has no probabilities" in said.err
    )
    assert "nnUNetTrainer against nnUNetTrainerBoundary" in said.out and "Not judged" in said.out
    assert (out / "report.html").is_file()
    drawn = []
    monkeypatch.setattr("boundaryloss.commands.report.draw_report", drawn.append)
    assert run(out) == 0 and drawn == [out]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["A"], "--out DIRECTORY is missing"),
        (["A", "--out", "used"], "used exists and is not empty"),
        (["A", "--out", "new", "--folds", "a"], "give numbers of folds such as 0,1, got 'a'"),
        (["A", "--out", "new", "--truth", "nowhere"], "nowhere: no such folder"),
        (["used", "--out", "new"], "used is a comparison; give it alone"),
    ],
)
def test_report_command_refuses_in_one_line(dataset, monkeypatch, capsys, args, words):
    monkeypatch.chdir(dataset)
    (dataset / "used").mkdir()
    (dataset / "used/comparison.json").write_text("{}")
    (dataset / "A").symlink_to(trained(dataset, "nnUNetTrainer", folds=(0,)))
    assert run(*args) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert words in said[-1] and not (dataset / "new").exists()
