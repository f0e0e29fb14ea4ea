"""The settings of a run as a TOML file to fill in."""

import json
import textwrap
from typing import Any

import tomli_w

from boundaryloss.training.config import TrainConfig, as_dict, describe_settings

HEAD = "# Settings for `boundaryloss train --config`. What stands behind a # is not set.\n"


def write_template(config: TrainConfig) -> str:
    """Return a TOML file of all settings with their meaning, which `read_config` reads back as `config`.

    What is not set is a comment. Tables come last: in TOML whatever follows belongs to them.
    """
    values = as_dict(config)
    described = sorted(describe_settings(), key=lambda item: isinstance(values.get(item[0]), dict))
    entries = [
        f"{textwrap.fill(meaning, 98, initial_indent='# ', subsequent_indent='# ', break_on_hyphens=False)}\n"
        f"{_assignment(name, values.get(name), default)}\n"
        for name, default, meaning in described
    ]
    return "\n".join([HEAD, *entries])


def _assignment(name: str, value: Any, default: str) -> str:
    if value is None:
        return f"# {name} ="
    if isinstance(value, dict):
        return tomli_w.dumps({name: value}).strip()
    if isinstance(value, list):  # which tomli_w would spread over several lines
        line = f"{name} = {json.dumps(value)}"
    else:
        line = tomli_w.dumps({name: value}).strip()
    changed = default not in ("null", json.dumps(value))
    return f"{line}  # default: {default}" if changed else line
