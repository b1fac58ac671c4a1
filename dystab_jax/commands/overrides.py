"""Reads --config and its overrides from the command line, for errors that help."""

import re
import runpy
from pathlib import Path

from ml_collections import ConfigDict

_SAVED = Path(__file__).resolve().parents[2] / "configs" / "saved.py"


def name_saved_config(argv: list[str]) -> list[str]:
    """Has overrides on a command line without --config change the config of the workdir."""
    given, overrides = _config_arguments(argv)
    workdir = _argument(argv, "workdir")
    if given is not None or not overrides or workdir is None:
        return argv
    return [argv[0], f"--config={_SAVED}:{workdir}", *argv[1:]]


def check_config(argv: list[str]) -> None:
    """Checks that the config file on the command line, and its variant, exist.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it has no such variant.
    """
    given, _ = _config_arguments(argv)
    if given is None:
        return
    path, colon, variant = given.partition(":")
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config={given}: there is no file {path}")
    try:
        _load(given)
    except TypeError as error:
        if not colon:
            raise
        raise ValueError(f"{path} has no variants, got {variant!r}: --config={path}") from error


def explain_override(argv: list[str], error: Exception) -> str:
    """Names the override on the command line whose field the config does not have.

    Args:
      argv: the command line.
      error: what parsing it raised.

    Returns:
      The override with the names that its section does have; else the error's own words.
    """
    given, overrides = _config_arguments(argv)
    for override in overrides if given else ():
        section = _load(given)
        for depth, key in enumerate(keys := override.partition("=")[0].split(".")):
            if not isinstance(section, ConfigDict) or key not in section:
                known = section.keys() if isinstance(section, ConfigDict) else ()
                return (
                    f"--config.{override}: {'.'.join(['config', *keys[:depth]])} has no field "
                    f"{key!r}; it has {', '.join(known) or 'none'}"
                )
            section = section[key]
    return " ".join(str(error).strip("'\"").split())


def _config_arguments(argv: list[str]) -> tuple[str | None, list[str]]:
    """Returns FILE[:VARIANT] of --config, and its overrides SECTION.FIELD[=VALUE]."""
    prefix = re.compile("--?config[.]")
    overrides = [prefix.sub("", word, count=1) for word in argv if prefix.match(word)]
    return _argument(argv, "config"), overrides


def _argument(argv: list[str], name: str) -> str | None:
    """Returns the value of a flag, before absl has read it."""
    value = None
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, written = word.partition("=")
        if flag in (f"-{name}", f"--{name}"):
            value = written if equals else following
    return value


def _load(given: str) -> ConfigDict:
    path, colon, variant = given.partition(":")
    get_config = runpy.run_path(path)["get_config"]
    return get_config(variant) if colon else get_config()
