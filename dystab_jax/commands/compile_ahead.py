"""Compiles every step of a config for a TPU slice, on a machine that has no TPU.

The compiler of the ``libtpu`` wheel says what a chip will need and do; nothing is executed. Videos
have ``data.image_size`` here; other sizes that training may meet (``resize.network_size``) have
about the same area.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from dystab_jax.build import Run, unpack
from dystab_jax.commands.runs import open_runs
from dystab_jax.commands.tpu_chips import device_of, roofline
from dystab_jax.runtime import parallel
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.parallel import AXIS
from dystab_jax.schedule import KINDS, REFINEMENTS, Bootstrap, Phase, schedule, step_of

EXAMPLES = "v5e:4x4, v5e:16x16, v4:2x2x2, v5p:2x2x2, v6e:4x4"


@dataclass(frozen=True)
class Measured:
    """Holds what the compiler says of one step on one device; bytes, operations, seconds.

    Attributes:
      step: its name.
      arguments, outputs, temporaries, code: memory. ``reused`` of the outputs lie where donated
        arguments did.
      kept: memory of what the state has besides, while training.
      flops, bytes_accessed: work of one step, where XLA counts the body of a loop once: of a round
        of the game one update of φ and one of ψ.
      intensity: operations per byte accessed.
      roofline_seconds: the least time that arithmetic and memory allow; None for a device of which
        nothing is known.
      share_of_peak: of the device's arithmetic, were the step as fast.
      collectives: {kind: [bytes of each]}.
      compile_seconds: here.
    """

    step: str
    arguments: int
    outputs: int
    reused: int
    temporaries: int
    code: int
    kept: int
    flops: float
    bytes_accessed: float
    intensity: float
    roofline_seconds: float | None
    share_of_peak: float | None
    collectives: dict[str, list[int]]
    compile_seconds: float

    @property
    def memory(self) -> int:
        """Bytes that the device needs while the step runs."""
        needed = self.arguments + self.outputs - self.reused + self.temporaries + self.code
        return needed + self.kept


def devices_of(topology: str) -> list[jax.Device]:
    """Returns the devices of a slice, such as "v5e:4x4".

    Raises:
      ValueError: there is no such slice, or no libtpu.
    """
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:  # the plugin raises its own kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"--topology={topology}: {reason}. Topologies are such as {EXAMPLES}; the compiler "
            "comes with `pip install -r requirements-tpu.txt`, and another process that uses it "
            "must have ended"
        ) from error


def compile_all(run: Run) -> Iterator[Measured]:
    """Compiles every step of training and every prediction for the run's mesh.

    Args:
      run: see ``Run.of``, with a mesh of ``devices_of``.

    Raises:
      ValueError: a step does not compile, for instance since it does not fit into the memory.
    """
    for program in programs(run):
        start = time.perf_counter()
        try:
            compiled = program.function.lower(*program.arguments).compile()
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{program.name}: {reason}") from error
        seconds = time.perf_counter() - start
        yield measure(program, compiled, run.mesh.devices.flat[0], seconds)


class Program(NamedTuple):
    """Describes something that a run executes on its devices.

    Attributes:
      name: of the step or prediction.
      function: jitted.
      arguments: abstract.
      kept: bytes of the state that a step of training is not handed, and that stay where they are.
    """

    name: str
    function: Callable
    arguments: tuple
    kept: int = 0


def programs(run: Run) -> Iterator[Program]:
    """Yields all that a run executes on its devices."""
    config, mesh = run.config, run.mesh
    state = run.abstract_state()
    options = unpack(Bootstrap, config.bootstrap, "bootstrap")
    refinements = [(kind, kind, 1e9) for kind in REFINEMENTS if config[kind].data]
    seen = set()
    # How many frames there are does not matter here: enough for no phase to be left out.
    for phase in schedule(options, 10**9, config.data.batch_size, refinements):
        if (phase.kind, phase.first) not in seen:
            seen.add((phase.kind, phase.first))
            step = parallel.map_step(step_of(phase, run.steps, options), mesh)
            own, others = state.split(KINDS[phase.kind].networks)
            batch = training_batch(phase, run)
            yield Program(step_name(phase), step, (own, batch), _size(others))
    averages = run.averages(state)
    size = tuple(config.data.image_size)
    for name, function, network, arrays in run.predictor.programs(size):
        yield Program(name, function, (averages[network], arrays))


def step_name(phase: Phase) -> str:
    """Returns what a phase's step is called; χ's first one is another than those that follow."""
    return f"{phase.kind}, first" if phase.first else phase.kind


def _size(tree: Any) -> int:
    """Bytes of all arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def training_batch(phase: Phase, run: Run) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes, types and places of what a phase's step takes of a batch."""
    data = run.config.data
    batch = _Shapes(run.mesh, (phase.updates, data.batch_size), batch_axis=1)
    height, width = data.still_size if phase.kind == "self_training" else data.image_size
    image, flow = batch.image(height, width), batch.flow(height, width)
    mask, number = batch(height, width, 1, dtype=jnp.uint8), batch(dtype=jnp.float32)
    known = {"image": image, "ellipse": batch(5, dtype=jnp.float32)}
    known |= dict.fromkeys(("flow_forward", "flow_backward"), flow)
    known |= dict.fromkeys(("motion_mask", "static_mask", "target", "truth"), mask)
    known |= dict.fromkeys(("confidence_phi", "confidence_chi"), number)
    return {name: known[name] for name in KINDS[phase.kind].reads}


class _Shapes:
    """Makes abstract arrays whose first axes are given, split along one of them."""

    def __init__(self, mesh: Mesh, leading: tuple[int, ...], batch_axis: int):
        self._leading = leading
        self._sharding = NamedSharding(mesh, P(*[None] * batch_axis, AXIS))

    def __call__(self, *shape: int, dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*self._leading, *shape), dtype, sharding=self._sharding)

    def image(self, height: int, width: int) -> jax.ShapeDtypeStruct:
        return self(height, width, 3, dtype=jnp.uint8)

    def flow(self, height: int, width: int) -> jax.ShapeDtypeStruct:
        return self(height, width, 2, dtype=jnp.float16)


def measure(
    program: Program, compiled: jax.stages.Compiled, device: jax.Device, seconds: float
) -> Measured:
    """Returns what the compiler says of a compiled step."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    flops, accessed = float(cost.get("flops", 0)), float(cost.get("bytes accessed", 0))
    known = device_of(device.device_kind)
    seconds_at_best, share = roofline(known, flops, accessed) if known else (None, None)
    return Measured(
        step=program.name,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        reused=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        kept=program.kept,
        flops=flops,
        bytes_accessed=accessed,
        intensity=flops / accessed if accessed else math.inf,
        roofline_seconds=seconds_at_best,
        share_of_peak=share,
        collectives=collectives(compiled.as_text()),
        compile_seconds=seconds,
    )


_COLLECTIVE = re.compile(
    r"= (?P<type>\(.*?\)|\S+) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")


def collectives(program: str) -> dict[str, list[int]]:
    """Finds what crosses the devices in a compiled program.

    Args:
      program: its HLO.

    Returns:
      {"all-reduce": [bytes of each], ...}, those of the result.
    """
    found: dict[str, list[int]] = {}
    for match in _COLLECTIVE.finditer(program):
        size = sum(
            _width(kind) * math.prod(int(side) for side in shape.split(",") if side)
            for kind, shape in _ARRAY.findall(match["type"])
        )
        found.setdefault(match["kind"], []).append(size)
    return found


def _width(kind: str) -> int:
    """Bytes of one number of an HLO type such as f32, bf16, s8, pred."""
    return 1 if kind == "pred" else max(1, int(re.search(r"\d+", kind)[0]) // 8)


def heading(run: Run, topology: str) -> str:
    """Returns what stands above the rows; sizes of one device, ms and peak of the roofline."""
    kind = run.mesh.devices.flat[0].device_kind
    known = device_of(kind)
    size = f" of {_mega(known.memory)}" if known else ""
    return (
        f"{topology}: {run.mesh.size} devices ({kind}{size}), batches of "
        f"{run.config.data.batch_size}; per device. In training, memory has the "
        "networks that rest as well; of dynamic and joint, the work is one update of φ and of ψ\n"
        f"{'step':16}{'memory':>9}{'args':>8}{'temp':>8}{'code':>8}{'GFLOP':>9}{'GB moved':>10}"
        f"{'FLOP/B':>8}{'≥ ms':>8}{'peak':>7}{'all-reduce':>15}{'compiled':>10}"
    )


def row(one: Measured) -> str:
    """Formats one step, below the ``heading``."""
    reduced = one.collectives.get("all-reduce", [])
    others = sum(len(sizes) for kind, sizes in one.collectives.items() if kind != "all-reduce")
    crossing = f"{len(reduced)} × {_mega(sum(reduced))}" if reduced else "none"
    crossing += f" +{others}" if others else ""
    milliseconds = "–" if one.roofline_seconds is None else f"{one.roofline_seconds * 1e3:.1f}"
    share = "–" if one.share_of_peak is None else f"{one.share_of_peak:.0%}"
    return (
        f"{one.step:16}{_mega(one.memory):>9}{_mega(one.arguments):>8}"
        f"{_mega(one.temporaries):>8}{_mega(one.code):>8}{one.flops / 1e9:>9.1f}"
        f"{one.bytes_accessed / 1e9:>10.2f}{one.intensity:>8.0f}{milliseconds:>8}{share:>7}"
        f"{crossing:>15}{one.compile_seconds:>8.0f} s"
    )


def _mega(size: float) -> str:
    return f"{size / 2**20:.0f}M" if size < 2**30 else f"{size / 2**30:.1f}G"


def compile_run(run: Run, topology: str) -> Path:
    """Compiles all steps of a run; prints and saves what the compiler says, step by step.

    Args:
      run: with a mesh of ``devices_of(topology)``.
      topology: such as "v5e:4x4".

    Returns:
      WORKDIR/compile/TOPOLOGY.json.

    Raises:
      ValueError: see ``compile_all``; the steps before are saved.
    """
    facts = {
        "topology": topology,
        "devices": run.mesh.size,
        "device_kind": run.mesh.devices.flat[0].device_kind,
        "batch_size": run.config.data.batch_size,
        "jax": jax.__version__,
        "steps": [],
    }
    path = run.workdir / "compile" / f"{topology.replace(':', '-')}.json"
    print(heading(run, topology), flush=True)
    for one in compile_all(run):
        print(row(one), flush=True)
        facts["steps"].append(asdict(one) | {"memory": one.memory})
        write_whole(path, json.dumps(facts, indent=1) + "\n")
    return path


def compile_config(
    config: ConfigDict | None, workdir: Path, topology: str, only: Sequence[str] = ()
) -> None:
    """Compiles every step of a config for a TPU slice; needs no TPU and trains nothing.

    Args:
      config: None: the one that the workdir has.
      workdir: gets compile/TOPOLOGY.json; it need not hold a run.
      topology: such as "v5e:4x4".
      only: names of the runs to do; default: all.
    """
    mesh = parallel.make_mesh(devices_of(topology))
    for run in open_runs(config, workdir, "compile", only):
        path = compile_run(Run.of(run.config, run.workdir, mesh), topology)
        print(f"saved   {path}")
