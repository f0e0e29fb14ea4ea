"""A study of nnU-Net -> comparison.json and its runs, as the report reads them."""

import importlib.metadata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from boundaryloss.comparison.nnunet.cases import HALF, Case, Judged, judge
from boundaryloss.comparison.nnunet.study import Result, Study
from boundaryloss.comparison.planes import write_arrays
from boundaryloss.files import group_names
from boundaryloss.report.store import (
    CASES,
    COMPARISON,
    HISTORY,
    LESIONS,
    POINTS,
    RUN,
    SUMMARY,
    ComparisonRecord,
    Epoch,
    LesionScores,
    MethodRecord,
    RunRecord,
    write_record,
    write_table,
)
from boundaryloss.scoring import THRESHOLDS, Pair, in_processes, summarise


def write_study(
    study: Study,
    out: Path,
    *,
    jobs: int = 1,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Judge all predictions, and only then write them as a comparison.

    Args:
        study: What to compare.
        out: A directory with nothing in it.
        jobs: Number of processes.
        progress: Is called with predictions judged, predictions in all and the name of the last one.

    Raises:
        UserError: A file cannot be read, or does not fit to the others; nothing is written then.
    """
    cases = [case for names in study.folds.values() for case in names]
    items = [(result, case) for case in cases for result in study.results]
    judged: dict[tuple[str, str], Judged] = {}
    with closing(in_processes(judge, [_case(study, *item) for item in items], jobs)) as found:
        for (result, case), one in zip(items, found, strict=True):
            judged[result.name, case] = one
            progress(len(judged), len(items), f"{result.name}, {case}")
    first = study.results[0].name
    methods = [
        MethodRecord(
            name=result.name,
            baseline=None if result.name == first else first,
            loss=result.name,
            epochs=_epochs(result),
            runs=[_write_run(study, result, fold, judged, out) for fold in study.folds],
        )
        for result in study.results
    ]
    pictures = {f"image/{case}": judged[first, case].image for case in cases}
    write_arrays(out / "images.npz", pictures | {f"truth/{c}": judged[first, c].truth for c in cases})
    record = ComparisonRecord(
        title=f"{study.dataset} with nnU-Net",
        data=str(study.truth),
        seeds=[],
        folds=[*study.folds],
        labels=[*study.description.label_values],
        spacing=[],
        train_cases=[],
        groups=group_names(cases),
        thresholds=[*THRESHOLDS] if study.probabilities else [HALF],
        experiment="\n".join(str(result.trained.folder) for result in study.results),
        methods=methods,
        notes=[*study.notes],
    )
    write_record(out / COMPARISON, record)


def _case(study: Study, result: Result, name: str) -> Case:
    return Case(
        Pair(name, result.predictions[name], study.labels[name]),
        (0, *study.description.label_values),
        study.description.ignore,
        study.probabilities,
        study.images.get(name) if result is study.results[0] else None,
    )


def _epochs(result: Result) -> int | None:
    """Return how many epochs all folds were trained for; None if they differ, or it is not known."""
    counts = {len(log.epochs) for log in result.logs.values()}
    return counts.pop() or None if len(counts) == 1 else None


def _write_run(
    study: Study, result: Result, fold: int, judged: dict[tuple[str, str], Judged], out: Path
) -> str:
    """Write what a fold came to, and return the name of its directory."""
    name = f"{result.trained.folder.name}-fold{fold}"
    folder, log = out / "runs" / name, result.logs[fold]
    folder.mkdir(parents=True)
    found = {case: judged[result.name, case] for case in study.folds[fold]}
    rows = [row for one in found.values() for row in one.rows]
    write_table(folder / CASES, rows)
    write_table(folder / SUMMARY, summarise(rows))
    write_table(folder / LESIONS, [row for one in found.values() for row in one.lesions], LesionScores)
    write_table(folder / POINTS, [row for one in found.values() for row in one.points])
    longest = max(1, *(len(other.epochs) for other in result.logs.values()))
    blank = [Epoch(number) for number in range(len(log.epochs), longest)]
    write_table(folder / HISTORY, [*log.epochs, *blank])
    write_arrays(folder / "planes.npz", {case: one.prediction for case, one in found.items()})
    machine, torch = result.trained.machine(fold)
    record = RunRecord(
        method=result.name,
        fold=fold,
        seed=None,
        shared_epochs=0,
        seconds=log.seconds,
        finished=log.finished,
        train_cases=log.train_cases,
        test_cases=len(found),
        hardware=machine,
        versions={"boundaryloss": importlib.metadata.version("boundaryloss")} | torch,
    )
    write_record(folder / RUN, record)
    return name
