"""The command's way in, where one line says what is missing."""

import sys

from boundaryloss.extras import MissingExtraError


def main() -> None:
    """Run the command, or exit with 2 and a line on what to install."""
    try:
        from boundaryloss.cli import main as run
    except MissingExtraError as error:
        print(f"boundaryloss: {error}", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
