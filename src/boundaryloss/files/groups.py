"""Which cases belong to one patient: the one rule for splits, the validation share and statistics."""

import re
from collections.abc import Sequence
from itertools import takewhile

from boundaryloss.files.errors import UserError

WORD = re.compile("(?<=[-_])")  # where the next word of a name begins
EACH = "^(.+)$"  # the rule that makes every case its own group


def check_pattern(pattern: str) -> None:
    """Raise a `UserError` if `pattern` is no regular expression with a group."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(
            f"group in [split]: {pattern!r} is no regular expression ({error}); correct it"
        ) from None
    if groups == 0:
        raise UserError(
            f"group in [split]: {pattern!r} has no parentheses; put them around what is the patient"
        )


def group_names(names: Sequence[str], pattern: str | None = None) -> dict[str, str]:
    """Return name -> patient; this is the one rule for splits, the validation share and statistics.

    With a `pattern` it is the first group of the match at the beginning of the name, or the whole name where
    nothing matches. Without, it is the name up to the first word with a digit, if another follows: p07 of
    p07_z3, site_p07 of site_p07_z3; case_0001 and crack_12 are patients of their own, as no word follows.
    Words that all names begin with do not count.

    Raises:
        UserError: `pattern` matches no name.
    """
    if pattern is not None:
        matches = {name: re.match(pattern, name) for name in names}
        found = {name: match[1] for name, match in matches.items() if match and match[1]}
        if names and not found:
            raise UserError(
                f"group in [split]: {pattern!r} matches no name, such as {names[0]!r}; correct it"
            )
        return {name: found.get(name, name) for name in names}
    columns = zip(*(WORD.split(name)[:-1] for name in names), strict=False)
    common = len([*takewhile(lambda words: len({*words}) == 1, columns)])
    return {name: _patient(name, common) for name in names}


def _patient(name: str, common: int) -> str:
    words = WORD.split(name)
    numbered = (i for i in range(common, len(words) - 1) if re.search(r"\d", words[i]))
    last = next(numbered, None)
    return name if last is None else "".join(words[: last + 1])[:-1]
