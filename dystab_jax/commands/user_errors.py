"""Errors that end a command with their message, without a traceback."""

from dystab_jax.runtime.monitor import TrainingStopped


class RunsNotDoneError(RuntimeError):
    """Signals that some of several runs could not be done; the others are."""


USER_ERRORS = (ValueError, OSError, TrainingStopped, RunsNotDoneError)
"""Errors whose message is for the user."""
