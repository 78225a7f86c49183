"""Errors of input, which end the process with exit code 2 and no traceback."""


class InputError(ValueError):
    """A configuration, a file or a workdir is at fault; the message says what to do."""
