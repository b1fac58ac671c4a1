"""The simulation of hosts and chips, against what it has to be where one thing alone is slow."""

import numpy as np
import pytest

from benchmarks import pods
from benchmarks.pods import Host, chip_seconds, simulate
from dystab_jax.commands.compile_ahead import step_name
from dystab_jax.schedule import Bootstrap, schedule
from tests.test_bootstrap import PAPER


@pytest.mark.parametrize(
    ("host", "threads", "cores", "share"),
    [
        # Loading 8 ms in 8 threads, Python and handing over next to nothing: the chips' 10 ms.
        (Host(np.array([0.008]), 0.0, 0.0), 8, 8, 1.0),
        # 80 ms in 4 threads are a batch every 20 ms; so they are on 4 cores.
        (Host(np.array([0.080]), 0.0, 0.0), 4, 8, 0.5),
        (Host(np.array([0.080]), 0.0, 0.0), 8, 4, 0.5),
        # Of Python, 15 ms to load and 5 to hand over, there is one at a time.
        (Host(np.array([0.020]), 0.015, 0.005), 8, 8, 0.5),
        # Half of the batches take 30 ms, half 50.
        (Host(np.array([0.030, 0.050]), 0.0, 0.0), 2, 8, 0.5),
    ],
)
def test_one_slow_thing_decides(host, threads, cores, share):
    found = simulate(host, chip=0.010, hosts=1, threads=threads, cores=cores, steps=400)
    assert found == pytest.approx(share, rel=0.04)


def test_hosts_even_out_as_long_as_steps_are_handed_over_ahead(monkeypatch):
    host = Host(np.array([0.002, 0.030]), 0.0, 0.0)

    def share(hosts):
        return np.mean([simulate(host, 0.010, hosts, 1, 1, seed=seed) for seed in range(5)])

    # A batch every 16 ms on average.
    assert share(1) == pytest.approx(0.010 / 0.016, rel=0.06)
    assert share(16) == pytest.approx(share(1), rel=0.06)
    # Otherwise all wait for the last of them.
    monkeypatch.setattr(pods, "AHEAD", 1)
    assert 0.010 / 0.030 < share(16) < 0.85 * share(1)


def test_what_a_chip_does_for_a_step():
    times = {"warm_up": 2.0, "dynamic": 10.0, "static, first": 3.0}
    compiled = {"steps": [{"step": k, "roofline_seconds": one} for k, one in times.items()]}
    options = Bootstrap(**PAPER | {"chi_updates": 4})
    phases = {step_name(phase): phase for phase in schedule(options, 2000, 16)}
    seconds = {name: chip_seconds(compiled, phase, options) for name, phase in phases.items()}
    # Three updates of φ, 8 s each, and one of ψ; four of χ. The others were not compiled.
    assert seconds == {
        "warm_up": 2.0, "dynamic": 26.0, "static, first": 12.0, "static": None, "joint": None,
    }  # fmt: skip
