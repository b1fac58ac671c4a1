"""Optimizers by their optax name, with their own arguments and an optional schedule."""

import inspect

import jax
import optax

OPTIMIZERS = (
    "adam",
    "adamw",
    "adamax",
    "adabelief",
    "adagrad",
    "lamb",
    "lion",
    "nadam",
    "radam",
    "rmsprop",
    "sgd",
)
SCHEDULES = ("constant", "cosine", "warmup_cosine")


def make_optimizer(
    name: str,
    learning_rate: float,
    schedule: str = "constant",
    schedule_steps: int = 0,
    warmup_steps: int = 0,
    gradient_clip: float | None = None,
    backbone_scale: float | None = None,
    **arguments,
) -> optax.GradientTransformation:
    """Builds an optimizer from a config section.

    Args:
      name: one of ``OPTIMIZERS``.
      learning_rate: the (peak) rate.
      schedule: one of ``SCHEDULES``; all but "constant" need ``schedule_steps``.
      schedule_steps: updates after which the rate has fallen to zero.
      warmup_steps: updates of linear rise from zero ("warmup_cosine").
      gradient_clip: global norm to which gradients are clipped; None for no clipping.
      backbone_scale: factor of the rate for the parameters of "backbone", where pretrained features
        shall change more slowly than what is new; None for the same rate everywhere.
      **arguments: of the optax function; None means optax's default.

    Raises:
      ValueError: unknown name, schedule or argument; says which ones are accepted.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")
    if schedule != "constant" and schedule_steps <= 0:
        raise ValueError(f"schedule {schedule!r} needs schedule_steps > 0, got {schedule_steps}")
    rate = learning_rate
    if schedule == "cosine":
        rate = optax.cosine_decay_schedule(learning_rate, schedule_steps)
    elif schedule == "warmup_cosine":
        rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, schedule_steps)

    build = getattr(optax, name)
    accepted = [key for key in inspect.signature(build).parameters if key != "learning_rate"]
    given = {key: value for key, value in arguments.items() if value is not None}
    unknown = sorted(set(given) - set(accepted))
    if unknown:
        raise ValueError(
            f"optimizer {name!r} does not take {', '.join(unknown)}; it takes {', '.join(accepted)}"
        )
    optimizer = build(rate, **given)
    if gradient_clip is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(gradient_clip), optimizer)
    if backbone_scale is not None:
        if backbone_scale < 0:
            raise ValueError(f"backbone_scale is {backbone_scale}; expected 0 or more")
        slower = optax.masked(optax.scale(backbone_scale), _in_backbone)
        optimizer = optax.chain(optimizer, slower)
    return optimizer


def _in_backbone(parameters: optax.Params) -> optax.Params:
    """Returns which leaves of the parameters, or of their updates, lie under "backbone"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: bool(path) and getattr(path[0], "key", None) == "backbone", parameters
    )
