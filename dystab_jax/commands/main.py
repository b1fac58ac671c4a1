"""The flags of ``run.py``, and what each mode does with them."""

import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from data_prep.flow import NETWORKS, PRECISIONS, FlowOptions
from dystab_jax.commands import masks, overrides, predict
from dystab_jax.commands.user_errors import USER_ERRORS
from dystab_jax.prediction.files import FORMATS
from dystab_jax.prediction.flow_of_training import Asked
from dystab_jax.runtime import mirror, processes
from dystab_jax.runtime.compilation_cache import keep_compiled_programs
from dystab_jax.runtime.cores import check_devices, use_cores
from dystab_jax.runtime.free_memory import allocate_from_few_arenas
from dystab_jax.runtime.interruption import Interrupted
from dystab_jax.runtime.paths import user_path
from dystab_jax.runtime.processes import Cluster

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, such as configs/demo.py or configs/davis.py:small; its fields are overridden by "
    "--config.section.field=value. Left out: the one that WORKDIR was made with.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run: checkpoints, metrics, scores, report. Left out: runs/NAME of the config.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    overrides.MODES,
    "Also the first word, without a flag. train: train (or go on) and then evaluate; eval: score "
    "what is trained, write report, figures and tables; tables: Tables 1-7 from all results below "
    "the workdir; predict: masks for --input; export: the networks alone, a small folder that "
    "predicts as the workdir does; compile: every step for a TPU slice, ahead of time, on a "
    "machine without one.",
)
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "on", "off"],
    "Several processes, one on each host: auto joins them where TPU pods, Slurm steps, Open MPI or "
    "Kubernetes say that there are some; on requires it.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first process, where no cluster says it."
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many, with --coordinator.")
_PROCESS = flags.DEFINE_integer("process", None, "The number of this one, with --coordinator.")
_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout", 100, "Seconds after which a silent process ends all others."
)
_PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "train: START,STEPS traces so many steps from this one on, into WORKDIR/profile, for XProf and "
    "Perfetto.",
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "compile: a TPU slice, such as v5e:4x4, v4:2x2x2 or v6e:16x16."
)
_ONLY = flags.DEFINE_list(
    "only", [], "train, eval: of a config that stands for several runs, those to do, by name."
)
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "predict: an image, a folder of frames, a video (mp4, avi, mov, webm), or a folder of videos.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "predict: folder for masks and pages; export: folder for the networks."
)
_FORMAT = flags.DEFINE_list(
    "format",
    list(predict.DEFAULT.formats),
    "predict: what is written, with commas between: "
    + "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items()),
)
_INSTANCES = flags.DEFINE_bool(
    "instances", False, "predict: objects that do not touch are told apart and numbered over time."
)
_ADAPT = flags.DEFINE_bool(
    "adapt",
    None,
    "predict: the networks learn from each video itself first, by pieces of 60 frames and more; "
    "better on most, a minute each. Left out: what the config says.",
)
_FLOW = flags.DEFINE_enum(
    "flow",
    None,
    [FlowOptions.estimator, *NETWORKS],
    "predict: what estimates optical flow. This flag and those below, left out: what the training "
    "data were prepared with.",
)
_FLOW_WEIGHTS = flags.DEFINE_string(
    "flow_weights", None, "predict: checkpoint (.pth) of the network that estimates flow."
)
_FLOW_SIZE = flags.DEFINE_string(
    "flow_size", None, "predict: WIDTHxHEIGHT to which frames are shrunk for flow, or native."
)
_FLOW_ITERATIONS = flags.DEFINE_integer("flow_iterations", None, "predict: updates of RAFT.")
_FLOW_PRECISION = flags.DEFINE_enum(
    "flow_precision", None, PRECISIONS, "predict: in which flow networks compute."
)
_MAX_GAP = flags.DEFINE_integer(
    "max_gap", None, "predict: frames between the two of a pair whose flow is estimated, at most."
)


def main(argv: list[str]) -> None:
    """Does what the flags say; ends the program with a message where that cannot be done."""
    if missing := _missing(argv):
        sys.exit(f"error: {missing}; --help lists the flags")
    logging.set_verbosity(logging.WARNING)  # Orbax reports every step of every save
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    try:
        _connect()
        with processes.ending_together((*USER_ERRORS, Interrupted)):
            workdir = user_path(_WORKDIR.value)
            with mirror.kept(workdir):
                _work(workdir)
    except USER_ERRORS as error:
        processes.fail(f"error: {error}")
    except Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("SIGINT: ended; what is written so far stays", file=sys.stderr)
        sys.exit(130)


def _missing(argv: list[str]) -> str | None:
    """Returns what the command line lacks, or has too much; None where it can be done."""
    mode = _MODE.value
    if len(argv) > 1:
        return f"unexpected arguments {argv[1:]}; flags start with --"
    if not _WORKDIR.value:
        return "--workdir or --config is needed, such as --config=configs/demo.py"
    if mode == "predict" and not (_INPUT.value and _OUTPUT.value):
        return "--mode=predict needs --input and --output"
    if mode == "export" and not _OUTPUT.value:
        return "--mode=export needs --output"
    if mode == "compile" and not _TOPOLOGY.value:
        return "--mode=compile needs --topology, such as v5e:4x4"
    return None


def _work(workdir: Path) -> None:
    config, mode = _CONFIG.value, _MODE.value
    shipped = workdir == overrides.SHIPPED
    if shipped:
        print(f"networks that come with the program, {workdir / 'README.md'}")
    elif mirror.is_mirrored(workdir) or not overrides.has_workdir(sys.argv):
        print(f"workdir {mirror.address_of(workdir)}")
    if mode == "predict":
        weights = user_path(_FLOW_WEIGHTS.value) if _FLOW_WEIGHTS.value else None
        # The flow network that they were trained with is not shipped.
        by_default = FlowOptions.estimator if shipped and weights is None else None
        asked = Asked(
            _FLOW.value or by_default,
            weights,
            _FLOW_ITERATIONS.value,
            _FLOW_PRECISION.value,
            _FLOW_SIZE.value,
            _MAX_GAP.value,
        )
        wanted = predict.Wanted(_FORMAT.value, _INSTANCES.value)
        places = user_path(_INPUT.value), user_path(_OUTPUT.value)
        masks.predict_masks(config, workdir, *places, asked, wanted, _ADAPT.value)
        return
    # Imported here: it takes a second, which a prediction does without.
    from dystab_jax.commands import compile_ahead, train_and_score

    if mode == "train":
        train_and_score.train(config, workdir, _ONLY.value, _PROFILE.value)
    elif mode == "eval":
        train_and_score.evaluate(config, workdir, _ONLY.value)
    elif mode == "compile":
        compile_ahead.compile_config(config, workdir, _TOPOLOGY.value, _ONLY.value)
    elif mode == "tables":
        train_and_score.write_tables(workdir)
    else:
        train_and_score.export_networks(config, workdir, user_path(_OUTPUT.value))


def _connect() -> None:
    """Joins the other processes, if there are any; only the first goes on printing.

    Processes that are started by hand on a CPU have one device each.
    """
    if _MODE.value in ("predict", "eval"):  # not measured for training
        allocate_from_few_arenas()
    if not _COORDINATOR.value:
        use_cores()
    if _MODE.value != "compile":  # a machine without a TPU cannot read its programs again
        keep_compiled_programs()
    cluster = Cluster(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _TIMEOUT.value)
    if _MODE.value in ("train", "eval") and processes.connect(cluster, _DISTRIBUTED.value):
        if not processes.is_first():
            sys.stdout = open(os.devnull, "w")
    if _MODE.value not in ("tables", "compile"):
        check_devices()


def run() -> None:
    """Runs what the command line says."""
    app.run(main, flags_parser=parse_flags)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line as absl does; what is wrong with the config is said in one line."""
    try:
        argv = overrides.name_installed_config(overrides.name_mode(argv))
        argv = overrides.name_mirror(argv)
        argv = overrides.name_saved_config(overrides.name_workdir(argv))
        argv = overrides.name_config_file(argv)
        overrides.check_config(argv)
        return app.parse_flags_with_usage(argv)
    except (KeyError, AttributeError, TypeError) as error:
        sys.exit(f"error: {overrides.explain_override(argv, error)}")
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")
