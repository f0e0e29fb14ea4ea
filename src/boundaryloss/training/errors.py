"""The one exception that tells a user what to change."""


class UserError(ValueError):
    """A mistake in what the user gave: one line that says what is wrong and what to do.

    The command prints the line and exits with 2; a traceback would only hide it.
    """
