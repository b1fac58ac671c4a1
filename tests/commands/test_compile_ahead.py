"""What is compiled ahead of time is what training and prediction execute."""

import json

import jax
import numpy as np
import pytest

from dystab_jax.build import Run, unpack
from dystab_jax.commands import compile_ahead
from dystab_jax.data import pipeline, records
from dystab_jax.data.augmentation import Augmentation
from dystab_jax.pseudo_labels import PseudoLabels
from dystab_jax.runtime import parallel
from dystab_jax.schedule import KINDS, Bootstrap, Phase, step_of
from dystab_jax.state import parameter_count


@pytest.fixture(scope="module")
def run(new_tiny_config, tmp_path_factory):
    """On two CPU devices."""
    config = new_tiny_config()
    config.bootstrap.rounds = 2
    mesh = parallel.make_mesh(jax.devices()[:2])
    return Run.of(config, tmp_path_factory.mktemp("run"), mesh)


@pytest.mark.parametrize("kind", ["warm_up", "dynamic", "joint", "static"])
def test_abstract_batches_are_those_of_the_pipeline(run, kind):
    config = run.config
    phase = Phase("x", kind, 0, 1, updates=2, first=True)
    source = records.open_source(config.data.dir, config.data.train)
    size = tuple(config.data.image_size)
    frames = pipeline.frames_of(source)
    bits = np.zeros((len(frames), -(-size[0] * size[1] // 8)), np.uint8)
    masks = {"motion_mask": bits, "static_mask": bits}
    values = np.zeros(len(frames), np.float32)
    labels = PseudoLabels(size, masks, {"confidence_phi": values, "confidence_chi": values})
    batches = pipeline.training_batches(
        pipeline.Decoded(source, size, keep=False),
        frames,
        seed=0,
        updates=phase.updates,
        batch_size=config.data.batch_size,
        augmentation=Augmentation(True, 0.8, 0.2),
        threads=1,
        labels=labels if kind == "static" else None,
        arrays=KINDS[kind].reads,
    )
    given = parallel.shard(next(batches), run.mesh)
    expected = compile_ahead.training_batch(phase, run)
    assert given.keys() == expected.keys()
    for name, abstract in expected.items():
        found = given[name]
        assert (found.shape, found.dtype) == (abstract.shape, abstract.dtype), name
        assert found.sharding == abstract.sharding


def size(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def test_every_step_of_a_run_is_there_once(run):
    names = [program.name for program in compile_ahead.programs(run)]
    training = ["warm_up", "dynamic", "static, first", "joint", "static"]
    assert names == [*training, "predict φ", "predict χ", "confidence"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_needs_what_it_is_handed_and_nothing_else(unchecked, run, kind):
    options = unpack(Bootstrap, run.config.bootstrap, "bootstrap")
    updates = options.phi_updates + options.psi_updates
    phase = Phase("x", kind, 0, 1, updates, first=False)
    step = parallel.map_step(step_of(phase, run.steps, options), run.mesh)
    batch = compile_ahead.training_batch(phase, run)
    own, _ = run.abstract_state().split(KINDS[kind].networks)
    after, _ = jax.eval_shape(step, own, batch)
    assert jax.tree.structure(after) == jax.tree.structure(own)
    for name in KINDS[kind].networks:
        with pytest.raises(AttributeError, match="None"):
            jax.eval_shape(step, own.replace(**{name: None}), batch)


def test_what_the_compiler_says_of_a_step(run):
    program = next(compile_ahead.programs(run))
    assert program.name == "warm_up"
    compiled = program.function.lower(*program.arguments).compile()
    measured = compile_ahead.measure(program, compiled, run.mesh.devices.flat[0], 2.5)
    # One number each for the gradients of ψ and for the loss that is told.
    crossing = parameter_count(run.abstract_state().psi.variables) + 1
    assert sum(measured.collectives.pop("all-reduce")) == 4 * crossing
    assert not measured.collectives
    # The part of the state that a step gets is donated and comes back in its place; the rest is
    # not in the program, but in the memory.
    whole = run.abstract_state()
    assert measured.arguments > measured.reused == size(whole.psi) + size(whole.step)
    assert measured.kept == size((whole.phi, whole.chi, whole.chi_previous))
    assert measured.memory > size(whole) + measured.temporaries
    assert measured.flops > 0 and measured.temporaries > 0
    assert measured.roofline_seconds is None  # of a CPU nothing is known
    assert "cpu:2: 2 devices" in compile_ahead.heading(run, "cpu:2")
    assert compile_ahead.row(measured).endswith(" 2 s")


def test_what_does_not_fit_is_told(run, monkeypatch):
    class Step:
        def lower(self, *_):
            return self

        def compile(self):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 40G of 16G\nmany lines")

    program = compile_ahead.Program("joint", Step(), ())
    monkeypatch.setattr(compile_ahead, "programs", lambda run: iter([program]))
    with pytest.raises(ValueError, match="joint: RESOURCE_EXHAUSTED: 40G of 16G$"):
        list(compile_ahead.compile_all(run))


def test_collectives_are_counted_with_their_bytes():
    program = """
      %all-reduce.1 = (f32[3,3,8]{2,1,0}, bf16[5]{0}, f32[]) all-reduce(%a, %b, %c), channel_id=1
      %x = f32[10]{0} all-reduce-start(%y), channel_id=2
      %z = f32[10]{0} all-reduce-done(%x)
      ROOT %g = pred[4,2]{1,0} all-gather(%p), dimensions={0}
      %fusion = f32[9]{0} fusion(%all-reduce.1), calls=%all-reduce-like
    """
    assert compile_ahead.collectives(program) == {
        "all-reduce": [3 * 3 * 8 * 4 + 5 * 2 + 4, 40],
        "all-gather": [8],
    }


def test_a_slice_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"--topology=v9z:1x1: .*requirements-tpu.txt"):
        compile_ahead.devices_of("v9z:1x1")


def test_results_are_saved_step_by_step(run, monkeypatch, capsys):
    def compile_all(run):
        yield compile_ahead.Measured("warm_up", *range(8), 0.5, None, None, {"all-reduce": [4]}, 9)
        raise ValueError("dynamic: out of memory")

    monkeypatch.setattr(compile_ahead, "compile_all", compile_all)
    with pytest.raises(ValueError, match="dynamic"):
        compile_ahead.compile_run(run, "v5e:4x4")
    stored = json.loads((run.workdir / "compile" / "v5e-4x4.json").read_text())
    assert (stored["devices"], stored["batch_size"]) == (2, run.config.data.batch_size)
    assert [step["step"] for step in stored["steps"]] == ["warm_up"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("v5e:4x4") and lines[-1].startswith("warm_up")
