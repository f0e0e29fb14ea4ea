"""nnU-Net's training logs -> what is known of every epoch; an epoch that no log has stays blank.

The logs are read, not the checkpoints: they are small text, also say how the two terms were weighted, and
nothing has to be unpickled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boundaryloss.report.store import Epoch

LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d)\S*: +(.*?)\s*$")  # when, and what is said
EPOCH = re.compile(r"Epoch (\d+)$")
SAID = {
    "loss": re.compile(r"train_loss (\S+)$"),
    "dice": re.compile(r"Pseudo dice \[(.*)\]$"),
    "seconds": re.compile(r"Epoch time: (\S+) s$"),
    "region_weight": re.compile(r"region weight (\S+),"),
    "boundary_weight": re.compile(r"region weight \S+, boundary weight (\S+)$"),
}
SPLIT = re.compile(r"This .*split has (\d+) training and \d+ validation cases")
NUMBER = re.compile(r"(?<![\w.])-?(?:nan|\d[\d.]*(?:e[-+]?\d+)?)")  # not the 32 of np.float32(0.5)


@dataclass(frozen=True)
class Log:
    """Hold what the logs of a fold tell."""

    epochs: list[Epoch]
    train_cases: int | None
    finished: str | None
    ended: bool  # whether the newest training came to its end

    @property
    def seconds(self) -> float | None:
        """Return how long all epochs took; None if that is not known of one."""
        return self.epochs[-1].seconds if self.epochs else None


def read_log(fold: Path) -> Log:
    """Read all logs of a fold: nnU-Net begins one at every start, and --c repeats epochs."""
    said: dict[int, dict[str, float]] = {}
    train_cases = finished = None
    ended = True
    for path in sorted(fold.glob("training_log_*.txt"), key=_begun):
        current: dict[str, float] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if not (match := LINE.match(line)):
                continue
            finished, text = match.groups()
            if found := EPOCH.match(text):
                number, ended = int(found[1]), False
                for later in [epoch for epoch in said if epoch >= number]:  # of a start that was given up
                    del said[later]
                current = said.setdefault(number, {})
            elif found := SPLIT.match(text):
                train_cases = int(found[1])
            elif text == "Training done.":
                ended = True
            current |= {name: _number(found[1]) for name in SAID if (found := SAID[name].match(text))}
    done = [epoch for epoch, values in said.items() if "loss" in values]
    return Log(_epochs(said, max(done, default=-1) + 1), train_cases, finished, ended)


def _epochs(said: Mapping[int, Mapping[str, float]], count: int) -> list[Epoch]:
    epochs, elapsed = [], 0.0
    for number in range(count):
        values = said.get(number, {})
        elapsed += values.get("seconds", np.nan)
        epochs.append(
            Epoch(
                number,
                loss=values.get("loss"),
                region_weight=values.get("region_weight"),
                boundary_weight=values.get("boundary_weight"),
                validation_dice=values.get("dice"),
                seconds=None if np.isnan(elapsed) else round(elapsed, 2),
            )
        )
    return epochs


def _begun(path: Path) -> list[int]:
    """Return when a log begins, as its name tells; months and days in it have one or two digits."""
    return [int(number) for number in re.findall(r"\d+", path.stem)]


def _number(text: str) -> float:
    """Return a number, or the mean of several that are none of them nan; nan if there is none."""
    values = [float(value) for value in NUMBER.findall(text)]
    return float(np.mean(known)) if (known := [v for v in values if not np.isnan(v)]) else float("nan")
