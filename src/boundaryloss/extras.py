"""What to install where an optional package is missing: the one place that says so."""

from importlib.util import find_spec


class MissingExtraError(ImportError):
    """Say in one line which packages are missing, and how to install them."""


def require(extra: str, user: str, *packages: str) -> None:
    """Raise if one of the `packages` that `user` needs is not installed; nothing is imported.

    Args:
        extra: The extra of this project that installs them.
        user: Who needs them.
        packages: Their names, as they are imported.

    Raises:
        MissingExtraError: One is missing.
    """
    if missing := [package for package in packages if not _is_there(package)]:
        raise MissingExtraError(f'{user} needs {", ".join(missing)}: pip install "boundaryloss[{extra}]"')


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # something made at run time takes its place
        return True
