"""Does the demonstration's verdict depend on luck? Five repetitions, and what each found.

    python experiments/first_command/repeat.py FOLDER

Each repetition is the demonstration with three other seeds. Every third has two threads, every second
another instruction set of torch's kernels: these round in other ways. FOLDER keeps the runs; results.csv
beside this file gets the rows of every finished repetition, which is not run again.
"""

import csv
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

RESULTS = Path(__file__).with_name("results.csv")
REPETITIONS = range(1, 6)
LEVELS = (("avx2", "AVX2"), ("default", "SSE41"))  # torch's name, oneDNN's name


def main(folder: Path) -> None:
    """Run what is missing, then print how often the signs agree."""
    rows = read()
    for repetition in REPETITIONS:
        if any(row["repetition"] == str(repetition) for row in rows):
            continue
        torch_level, onednn_level = LEVELS[repetition % 2]
        threads = str(2 if repetition % 3 == 0 else 1)
        names = {
            "ATEN_CPU_CAPABILITY": torch_level,
            "ONEDNN_MAX_CPU_ISA": onednn_level,
            "OMP_NUM_THREADS": threads,
        }
        command = [
            sys.executable,
            __file__,
            str(folder / str(repetition)),
            str(repetition),
            threads,
            torch_level,
        ]
        subprocess.run(command, env={**os.environ, **names}, check=True)
        rows = read()
    signs = defaultdict(list)
    for row in rows:
        signs[row["method"], row["measure"]].append((float(row["difference"]), row["verdict"]))
    for (method, measure), found in signs.items():
        up = sum(difference > 0 for difference, _ in found)
        verdicts = [sum(verdict == word for _, verdict in found) for word in ("better", "worse")]
        print(
            f"{method:26} {measure:28} up in {up} of {len(found)}; better {verdicts[0]}, worse {verdicts[1]}"
        )


def read() -> list[dict[str, str]]:
    """Return the rows so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def one(out: Path, repetition: int, threads: int, level: str) -> None:
    """Run one repetition, and add its rows."""
    from boundaryloss.comparison.demo import demo_experiment
    from boundaryloss.comparison.run import run_experiment
    from boundaryloss.report.findings import find_all
    from boundaryloss.report.results import read_results

    first = 3 * repetition
    run_experiment(demo_experiment(range(first, first + 3)), out, jobs=2 // threads)
    rows = [
        {
            "repetition": repetition,
            "seeds": f"{first}-{first + 2}",
            "threads": threads,
            "level": level,
            "method": finding.method,
            "measure": finding.measure.key,
            "difference": round(float(finding.difference.mean), 5),
            "verdict": finding.verdict,
        }
        for finding in find_all(read_results(out))
    ]
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        one(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
