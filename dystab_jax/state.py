"""All that resuming needs, in one dataclass."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

Variables = dict[str, Any]
"""Variables that a Flax module is applied with: "params" and, for batch norm, "batch_stats"."""


class Learner(struct.PyTreeNode):
    """Holds one network in training.

    Attributes:
      updates: optimizer steps taken.
      variables: what the last step left.
      optimizer_state: of optax.
      average: exponential average of ``variables``: what predicts, labels and is evaluated.
    """

    updates: jax.Array
    variables: Variables
    optimizer_state: optax.OptState
    average: Variables


class State(struct.PyTreeNode):
    """Holds everything that changes while training.

    Attributes:
      step: optimizer rounds done since the start, over all phases.
      phi, psi, chi: the three networks.
      chi_previous: χ′, χ's average frozen at the start of the current phase.
    """

    step: jax.Array
    phi: Learner
    psi: Learner
    chi: Learner
    chi_previous: Variables

    def describe(self) -> str:
        """Returns how many parameters the networks have, and what the state takes on a device."""
        counts = [
            f"{name} {sum(leaf.size for leaf in jax.tree.leaves(one.variables['params'])):,}"
            for name, one in (("phi", self.phi), ("psi", self.psi), ("chi", self.chi))
        ]
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(self))
        return f"parameters: {', '.join(counts)}; state: {held / 1e6:.0f} MB on each device"

    def split(self, networks: Sequence[str]) -> tuple["State", dict[str, Any]]:
        """Returns the state with these networks alone, None in place of the others; and the others.

        ``state.replace(**others)`` puts them back.
        """
        others = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("step", *networks)
        }
        return self.replace(**dict.fromkeys(others)), others


@dataclass(frozen=True)
class Trainable:
    """Holds a network and what trains it; closed over by the steps, never saved.

    Attributes:
      network: the Flax module.
      optimizer: its optax optimizer.
      average_decay: limit of the exponential average's decay; 0 keeps the last variables.
    """

    network: nn.Module
    optimizer: optax.GradientTransformation
    average_decay: float

    def start(self, variables: Variables) -> Learner:
        """Returns a learner at the given initial variables."""
        average = jax.tree.map(jnp.copy, variables)
        optimizer_state = self.optimizer.init(variables["params"])
        return Learner(jnp.zeros((), jnp.int32), variables, optimizer_state, average)

    def update(self, learner: Learner, gradients: Any, batch_stats: Any) -> Learner:
        """Takes one optimizer step, and updates the average."""
        parameters = learner.variables["params"]
        updates, optimizer_state = self.optimizer.update(
            gradients, learner.optimizer_state, parameters
        )
        variables = {"params": optax.apply_updates(parameters, updates), **batch_stats}
        # The average follows closely at first, so that it soon forgets the initial values.
        decay = jnp.minimum(self.average_decay, (1 + learner.updates) / (10 + learner.updates))
        average = optax.incremental_update(variables, learner.average, 1 - decay)
        return Learner(learner.updates + 1, variables, optimizer_state, average)


def parameter_count(variables: Variables) -> int:
    """Counts the numbers that are learned."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
