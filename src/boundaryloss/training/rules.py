"""Rules that stand on the fields of a pydantic dataclass, and the one line that a broken rule gives."""

import dataclasses
import difflib
import functools
import re
import reprlib
from collections.abc import Collection
from typing import Any, TypeVar

from pydantic import ValidationError

from boundaryloss.files import UserError

Kind = TypeVar("Kind", bound=type)
WANTED = {
    "bool_type": "true or false",
    "dict_type": "a table such as {name = value}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
}


def one_line_errors(kind: Kind) -> Kind:
    """Make `kind`, a pydantic dataclass, raise a `UserError` of one line where pydantic would list errors."""
    init = kind.__init__

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **settings: Any) -> None:
        try:
            init(self, *args, **settings)
        except ValidationError as error:
            raise UserError(_say(error, [item.name for item in dataclasses.fields(kind)])) from None

    kind.__init__ = checked
    return kind


def check_choice(what: str, value: str, known: Collection[str]) -> None:
    """Raise a `UserError` that names the nearest of `known`, if `value` is none of them."""
    if value in known:
        return
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise UserError(f"unknown {what}: {reprlib.repr(value)}; {hint}")


def _say(error: ValidationError, known: Collection[str]) -> str:
    """Return the first error as one line: the setting, its rule, and what was given."""
    first = error.errors(include_url=False)[0]
    name, *inside = first["loc"] or ("",)
    given, context = first["input"], first.get("ctx", {})
    try:
        if first["type"] == "unexpected_keyword_argument":
            check_choice("setting", str(name), known)
        if first["type"] == "literal_error" and isinstance(given, str):
            check_choice(str(name), given, re.findall(r"'([^']*)'", context["expected"]))
    except UserError as unknown:
        return str(unknown)
    if first["type"] == "value_error":
        return str(context["error"])
    place = f" (at {'.'.join(str(part + 1) if isinstance(part, int) else part for part in inside)})"
    rule = WANTED.get(first["type"]) or re.sub(r"^.*? should (have|be) |after validation, ", "", first["msg"])
    verb = "have" if first["type"] in ("too_short", "too_long") else "be"
    return f"{name}{place if inside else ''} must {verb} {rule}, got {reprlib.repr(given)}"
