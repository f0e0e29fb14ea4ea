"""`compare --cluster`: equal to one process whatever is killed, and how the time falls with workers.

    python benchmarks/bench_cluster.py

First 24 short runs (3 methods, two of which share a beginning, x 2 folds x 4 seeds) on one process. Then the
same on a Dask scheduler with two workers, all processes of their own. After a third of the runs one worker
is killed with its nanny, as if its machine were gone; after two thirds the scheduler, which ends the command
with status 2. The same command on a new scheduler does the rest. Tables and weights must be equal bit for
bit. Then 128 runs that sleep for a second in place of training, on 1 to 64 workers in threads.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import LocalCluster
from PIL import Image
from record import save

from boundaryloss.comparison import cluster
from boundaryloss.comparison.experiment import read_experiment
from boundaryloss.comparison.plan import find_plan, group
from boundaryloss.training.checkpoints import read_checkpoint

PACKAGES = ("boundaryloss", "distributed", "torch")
BIN, PATIENCE = Path(sys.executable).parent, 1800
TRAIN = "epochs = 3\nfeatures = [4, 4, 4, 4, 4]\nvalidation = 0.25\naccelerator = 'cpu'\n"
METHODS = """\
[methods.GDL]
loss = "gdl"
[methods.boundary]
loss = "gdl+boundary"
weighting = "constant"
[methods.warm]
loss = "gdl+boundary"
form = "log"
weighting = "ratio"
weighting_options = { start = 1, ramp = 1 }
"""


def write_experiment(folder, seeds, folds):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "data" / kind).mkdir(parents=True)
    for index in range(12):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 4 + index : 12 + index] = 1
        image = np.where(mask > 0, 220, rng.integers(0, 60, (32, 32))).astype(np.uint8)
        Image.fromarray(image).save(folder / f"data/images/p{index:02d}_0.png")
        Image.fromarray(mask).save(folder / f"data/masks/p{index:02d}_0.png")
    head = f'data = "data"\nseeds = {list(range(seeds))}\nfolds = {json.dumps(folds)}\n'
    (folder / "e.toml").write_text(f"{head}[train]\n{TRAIN}{METHODS}")
    return folder / "e.toml"


def start(folder, *command):
    """Start a process in a group of its own, so that it can be killed with all that it started."""
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [BIN / command[0], *command[1:]], stdout=log, stderr=log, cwd=folder, start_new_session=True
        )


def start_cluster(folder):
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    local = ("--scheduler-file", file, "--host", "127.0.0.1")
    scheduler = start(folder, "dask", "scheduler", *local, "--port", "0", "--no-dashboard")
    wait_for(file.exists)
    worker = ("dask", "worker", *local, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard")
    return [scheduler, *(start(folder, *worker) for _ in range(2))]


def wait_for(holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def done(out):
    return len(list(out.glob("runs/*/run.json")))


def on_one_process(folder, file):
    begun = time.monotonic()
    subprocess.run([BIN / "boundaryloss", "compare", file, "--out", folder / "one"], check=True)
    return time.monotonic() - begun


def on_a_cluster(folder, file, runs):
    out = folder / "out"
    command = ("boundaryloss", "compare", file, "--out", out, "--cluster", "scheduler.json")
    scheduler, first, second = started = start_cluster(folder)
    try:
        compare = start(folder, *command)
        wait_for(lambda: done(out) >= runs // 3)
        kill(first)
        wait_for(lambda: done(out) >= 2 * runs // 3)
        kill(scheduler)
        lost, status = done(out), compare.wait(PATIENCE)
        assert status == 2 and lost < runs, "the scheduler was killed too late"
        line = (folder / "log.txt").read_text().splitlines()
        assert (
            sum(text.startswith("boundaryloss: the connection to the scheduler is lost") for text in line)
            == 1
        )
        kill(second)
        started = start_cluster(folder)
        assert start(folder, *command).wait(PATIENCE) == 0
    finally:
        for process in started:
            if process.poll() is None:
                kill(process)
    return lost


def contents(out):
    """All tables but those with seconds, and all weights."""
    found = {}
    for path in sorted((*out.rglob("*.csv"), *out.rglob("last.ckpt"))):
        name = str(path.relative_to(out))
        if path.suffix == ".ckpt":
            found[name] = {key: value.tolist() for key, value in read_checkpoint(path)["state_dict"].items()}
        elif name != "tables/runs.csv" and path.name != "metrics.csv":
            found[name] = path.read_text()
    return found


def sleeping(folder, workers, seconds=1.0):
    """Seconds that the runs of an experiment take if each sleeps."""
    cluster.train_part = lambda source, out, part, beginning, on_step: time.sleep(seconds)
    experiment = read_experiment(folder / "e.toml")
    units = [(None, [run]) for _, unit in group(*find_plan(experiment)) for run in unit]
    options = {"processes": False, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with (
        LocalCluster(n_workers=workers, **options) as started,
        cluster.connected(started.scheduler_address) as client,
    ):
        begun = time.monotonic()
        count = sum(1 for _ in cluster.train_on_cluster(client, experiment, folder, units[:128]))
    assert count == 128
    return time.monotonic() - begun


def main():
    os.environ["OMP_NUM_THREADS"] = "1"  # as Dask gives a worker
    folder = Path(tempfile.mkdtemp())
    try:
        file = write_experiment(folder, 4, [["p00", "p01"], ["p02", "p03"]])
        seconds = on_one_process(folder, file)
        lost = on_a_cluster(folder, file, 24)
        one, many = contents(folder / "one"), contents(folder / "out")
        differ = sorted(name for name in {*one, *many} if one.get(name) != many.get(name))
        assert not differ and len(one) > 24 * 4, f"the cluster's results differ: {differ}"
        print(
            f"24 runs, the scheduler killed after {lost}: {len(one)} tables and checkpoints equal bit for bit"
        )
        (folder / "many").mkdir()
        write_experiment(folder / "many", 43, [["p00"]])
        times = {workers: round(sleeping(folder / "many", workers), 2) for workers in (1, 4, 16, 64)}
        for workers, taken in times.items():
            print(f"{workers:3d} workers: {taken:6.1f} s, ideal {128 / workers:6.1f} s")
    finally:
        shutil.rmtree(folder)
    save(
        "cluster",
        PACKAGES,
        {
            "compared": len(one),
            "done_when_the_scheduler_was_killed": lost,
            "seconds_on_one_process": round(seconds, 1),
            "seconds_for_128_sleeps_of_1_s_by_workers": times,
        },
    )


if __name__ == "__main__":
    main()
