"""Reads --config and its overrides from the command line, for errors that help."""

import os
import re
import runpy
from pathlib import Path

from ml_collections import ConfigDict

from dystab_jax.prediction.segmenter import SHIPPED
from dystab_jax.runtime.addresses import is_address
from dystab_jax.runtime.mirror import mirrored
from dystab_jax.runtime.paths import user_path

_CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_RUNS = Path("runs")
MODES = ("train", "eval", "tables", "predict", "export", "compile")


def name_mode(argv: list[str]) -> list[str]:
    """Has the first word of a command line be the mode: ``predict`` for ``--mode=predict``."""
    if len(argv) > 1 and argv[1] in MODES:
        return [argv[0], f"--mode={argv[1]}", *argv[2:]]
    return argv


def name_installed_config(argv: list[str]) -> list[str]:
    """Has ``--config=configs/NAME.py`` mean the program's own, where there is none here."""
    given = _argument(argv, "config")
    path, variant = divide(given) if given else ("", None)
    if not path or user_path(path).is_file() or not (_CONFIGS.parent / path).is_file():
        return argv
    own = str(_CONFIGS.parent / path) + ("" if variant is None else f":{variant}")
    return [argv[0], f"--config={own}", *_without_argument(argv, "config")[1:]]


def name_workdir(argv: list[str]) -> list[str]:
    """Completes a command line without --workdir.

    A run is in runs/NAME of its config, or in runs/NAME-VARIANT; predictions without a config are
    by the networks that come with the program.
    """
    given = _argument(argv, "config")
    if has_workdir(argv):
        return argv
    if given is None:
        predicts = _argument(argv, "mode") == "predict"
        return [argv[0], f"--workdir={SHIPPED}", *argv[1:]] if predicts else argv
    path, variant = divide(given)
    name = re.sub(r"[^\w.-]+", "-", "-".join(filter(None, [Path(path).stem, variant])))
    return [argv[0], f"--workdir={_RUNS / name}", *argv[1:]]


def name_mirror(argv: list[str]) -> list[str]:
    """Has a workdir in a bucket be the folder that mirrors it."""
    workdir = _argument(argv, "workdir")
    if workdir is None or not is_address(workdir):
        return argv
    folder = mirrored(workdir, make=_argument(argv, "mode") in (None, "train", "compile"))
    return [argv[0], f"--workdir={folder}", *_without_argument(argv, "workdir")[1:]]


def has_workdir(argv: list[str]) -> bool:
    """Returns whether a command line says where the run is."""
    return _argument(argv, "workdir") is not None


def name_saved_config(argv: list[str]) -> list[str]:
    """Has overrides on a command line without --config change the config of the workdir."""
    given, overrides = _config_arguments(argv)
    workdir = _argument(argv, "workdir")
    if given is not None or not overrides or workdir is None:
        return argv
    return [argv[0], f"--config={_without_colon(_CONFIGS / 'saved.py')}:{workdir}", *argv[1:]]


def name_config_file(argv: list[str]) -> list[str]:
    """Has absl find a config whose path begins with ~ or holds a colon.

    absl takes all behind the first colon for the variant, so another file hands the config over.
    """
    given = _argument(argv, "config")
    if given is None:
        return argv
    path, variant = divide(given)
    if ":" not in str(path) and not given.startswith("~"):
        return argv
    loader = _without_colon(_CONFIGS / "elsewhere.py")
    absolute = str(user_path(path)) + ("" if variant is None else f":{variant}")
    others = _without_argument(argv, "config")
    return [argv[0], f"--config={loader}:{absolute}", *others[1:]]


def divide(given: str) -> tuple[str, str | None]:
    """Divides FILE[:VARIANT] at the colon before which there is a file, else at the first one."""
    parts = given.split(":")
    for count in range(len(parts), 0, -1):
        path = ":".join(parts[:count])
        if path and user_path(path).is_file():
            return path, ":".join(parts[count:]) if count < len(parts) else None
    path, colon, variant = given.partition(":")
    return path, variant if colon else None


def load(given: str) -> ConfigDict:
    """Runs FILE[:VARIANT] and returns its config."""
    path, variant = divide(given)
    get_config = runpy.run_path(str(user_path(path)))["get_config"]
    return get_config() if variant is None else get_config(variant)


def _without_colon(path: Path) -> str:
    """Returns a path of this program as absl can take it, relative where it must be."""
    shown = str(path) if ":" not in str(path) else os.path.relpath(path)
    if ":" in shown:
        raise ValueError(
            f"{path}: a colon in the path of this program divides file and variant in --config; "
            "start it from its own folder"
        )
    return shown


def check_config(argv: list[str]) -> None:
    """Checks that the config file on the command line, and its variant, exist.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it has no such variant.
    """
    given, _ = _config_arguments(argv)
    if given is None:
        return
    path, variant = divide(given)
    if not path or not user_path(path).is_file():
        raise FileNotFoundError(f"--config={given}: there is no file {path}")
    try:
        load(given)
    except TypeError as error:
        if variant is None:
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
        section = load(given)
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


def _without_argument(argv: list[str], name: str) -> list[str]:
    """Returns the command line without a flag, which has its value behind = or in the next word."""
    kept, skip = [], False
    for word in argv:
        flag, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif flag in (f"-{name}", f"--{name}"):
            skip = not equals
        else:
            kept.append(word)
    return kept
