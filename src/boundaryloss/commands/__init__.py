"""The commands, one a module of its name, and what they share.

Whatever is heavy is imported inside the functions, so that `--help` answers at once.
"""
