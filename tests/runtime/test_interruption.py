"""What SIGTERM and Ctrl-C do outside of training steps; for training see test_bootstrap."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from dystab_jax.runtime.interruption import (
    Interrupted,
    Interruption,
    ending_by_ctrl_c,
    uninterrupted,
)


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_a_signal_ends_at_once_what_is_not_deferred():
    before = handlers()
    with pytest.raises(Interrupted, match="SIGTERM: ended; the same command goes on") as caught:
        with Interruption():
            send()
            raise AssertionError("the signal has come before")
    assert caught.value.exit_status == 143
    assert handlers() == before


def test_a_deferred_signal_waits_for_the_end_of_the_stretch():
    done = []
    with pytest.raises(Interrupted, match="SIGINT"), Interruption() as interruption:
        with interruption.deferred():
            send(signal.SIGINT)
            done.append(interruption.requested)
        raise AssertionError("the stretch has ended")
    assert done == [signal.SIGINT]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_what_may_not_be_interrupted_is_done(number, ctrl_c):
    before, done = handlers(), []
    with pytest.raises(KeyboardInterrupt), ending_by_ctrl_c():
        with uninterrupted():
            send(number)
            send(number)
            done.append(1)
        raise AssertionError("the stretch has ended")
    assert done == [1] and handlers() == before


def test_sigterm_ends_like_ctrl_c():
    before = handlers()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), ending_by_ctrl_c():
        send()
        raise AssertionError("the signal has come before")
    assert handlers() == before


def test_in_other_threads_signals_stay_as_they_are():
    def work():
        with ending_by_ctrl_c(), uninterrupted():
            done.append(handlers())

    before, done = handlers(), []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]


@pytest.fixture
def stuck(pytestconfig):
    """A program in the midst of one instruction of many minutes, as a compilation is one."""

    @contextmanager
    def start(grace):
        program = [sys.executable, "-c", STUCK, str(pytestconfig.rootpath), str(grace)]
        with subprocess.Popen(
            program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            yield process

    return start


def test_a_signal_is_answered_at_once_and_a_second_one_ends(stuck):
    with stuck(grace=60) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline().startswith("SIGINT: ends after the step under way, within")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "SIGINT: ended without saving. The same command goes on" in said


def test_without_signals_nothing_happens():
    before, wakeup = handlers(), signal.set_wakeup_fd(-1)
    for _ in range(2):
        with Interruption() as interruption, interruption.deferred():
            pass
        assert interruption.requested is None
    assert handlers() == before
    assert signal.set_wakeup_fd(wakeup) == -1


def test_other_threads_are_left_alone():
    failed = []

    def use():
        try:
            with Interruption():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not failed


STUCK = """
import hashlib, os, signal, sys
sys.path.insert(0, sys.argv[1])
from dystab_jax.runtime.interruption import Interruption
with Interruption(grace=float(sys.argv[2])) as interruption, interruption.deferred():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one instruction of many minutes
"""


def test_what_does_not_come_to_an_end_is_ended(stuck):
    with stuck(grace=0.5) as process:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "SIGTERM: not at the end of a step within 0.5 s; ended without saving" in said
