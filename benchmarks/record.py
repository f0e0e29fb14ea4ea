"""Where a benchmark leaves its figures, with the versions that they were taken with."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def save(name, packages, figures):
    """Write results/NAME.json."""
    record = {"python": platform.python_version(), "versions": installed(packages), **figures}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name.lower().replace(' ', '-')}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


def installed(packages):
    """Version of every package that takes part."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
