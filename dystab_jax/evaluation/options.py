"""Checks section ``eval`` of a config, before anything is trained."""

from ml_collections import ConfigDict

from dystab_jax import object_choice
from dystab_jax.build import unpack
from dystab_jax.data import records
from dystab_jax.data.dataset_registry import DATA_SETS
from dystab_jax.evaluation.adaptation import Adaptation
from dystab_jax.evaluation.protocols import registry
from dystab_jax.refinement import crf

MODELS = ("phi", "chi", "fused")


def data_sets(text: str) -> list[str]:
    """Splits an option such as ``eval.data``: names with commas between them."""
    return [spec.strip() for spec in text.split(",") if spec.strip()]


def check(config: ConfigDict) -> None:
    """Checks that what section ``eval`` names exists; data sets need not be prepared yet.

    Raises:
      ValueError: a value is not one of those that there are, or a phase is not of this config.
    """
    options = config.eval
    accepted = {
        "crf": crf.PRESETS,
        "still_crf": crf.PRESETS,
        "crf_backend": crf.BACKENDS,
        "fusion": object_choice.MODES,
        "trust": object_choice.TRUST,
    }
    for name, values in accepted.items():
        if options[name] not in values:
            raise ValueError(f"eval.{name} is {options[name]!r}; there are {', '.join(values)}")
    if not options.fusion_floor > 0:
        raise ValueError(f"eval.fusion_floor is {options.fusion_floor}; expected more than 0")
    if not options.fusion_sharpness >= 0:
        raise ValueError(f"eval.fusion_sharpness is {options.fusion_sharpness}; expected 0 or more")
    if not 0 < options.phi_cut < 1:
        raise ValueError(f"eval.phi_cut is {options.phi_cut}; expected between 0 and 1")
    if not 0 <= options.flow_average < 1:
        raise ValueError(f"eval.flow_average is {options.flow_average}; expected [0, 1)")
    unpack(Adaptation, options.adaptation, "eval.adaptation")
    if options.jobs < 1:
        raise ValueError(f"eval.jobs is {options.jobs}; expected 1 or more")
    _check_phases(config)
    unknown = sorted(set(data_sets(options.crf_models)) - set(MODELS))
    if unknown:
        raise ValueError(f"eval.crf_models has {unknown}; there are {', '.join(MODELS)}")
    for spec in data_sets(options.data):
        if "+" in spec:
            raise ValueError(f"eval.data has {spec!r}; put commas between data sets, not +")
        dataset = spec.partition(":")[0].partition("/")[0]
        if dataset not in DATA_SETS:
            raise ValueError(
                f"eval.data has {spec!r}; data sets are {', '.join(DATA_SETS)}, each "
                "followed by a colon and a split, such as davis2016:val"
            )
        protocols_of(spec, options.protocol)


def _check_phases(config: ConfigDict) -> None:
    known = ["last", "0-dynamic"]
    for number in range(1, config.bootstrap.rounds + 1):
        known += [f"{number}-static", f"{number}-joint"]
    if config.self_training.data:
        known.append("self_training")
    if config.supervised.data:
        known += ["supervised", *(f"supervised-{k + 1}" for k in range(config.supervised.checks))]
    for phase in data_sets(config.eval.phases):
        if phase not in known:
            raise ValueError(
                f"eval.phases has {phase!r}; with this config there are {', '.join(known)}"
            )
        if phase != "last" and not config.log.keep_phases:
            raise ValueError(f"eval.phases has {phase!r}, which log.keep_phases=False leaves out")


def prepared(config: ConfigDict) -> list[str]:
    """Returns the data sets of ``eval.data`` that are prepared; prints which others are not.

    Raises:
      FileNotFoundError, ValueError: none of them is, or the only one lacks the split.
      ValueError: one has no truth.
    """
    found, missing = [], {}
    for spec in data_sets(config.eval.data):
        try:
            source = records.open_source(config.data.dir, spec)
        except (FileNotFoundError, ValueError) as error:
            missing[spec] = error
            continue
        if "mask" not in source[0]:
            raise ValueError(
                f"{spec} has no truth to score by; name a split with masks in eval.data, or use "
                "--mode=predict for masks alone"
            )
        found.append(spec)
    if missing and not found:
        raise next(iter(missing.values()))
    for error in missing.values():
        print(f"will not be scored: {error}")
    return found


def protocols_of(spec: str, chosen: str) -> tuple[str, ...]:
    """Returns the protocols of a data set: ``chosen``, or its own ones if that is "default"."""
    if chosen != "default":
        registry.protocol(chosen)
        return (chosen,)
    return registry.default_protocols(spec.partition(":")[0])
