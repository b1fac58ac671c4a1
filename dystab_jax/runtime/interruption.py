"""SIGTERM and Ctrl-C: save what there is, say how to go on, end."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jax.experimental import multihost_utils

from dystab_jax.runtime import processes

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 25.0
"""Seconds after a signal in which a program has to end; machines are taken away after 30."""

_GO_ON = "ended; the same command goes on from what is saved"


class Interrupted(RuntimeError):
    """Signals that SIGTERM or Ctrl-C has asked the program to end.

    Attributes:
      exit_status: 128 + the number of the signal, as shells have it.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


class Interruption:
    """Turns the first SIGTERM or SIGINT into an orderly end, while entered.

    Within ``deferred`` the signal only sets ``requested``; elsewhere it raises Interrupted as soon
    as the interpreter can. What happens is said at once, also while a step is compiled, which takes
    long and cannot be interrupted. A second signal, or ``grace`` seconds, end the program without
    saving; the newest checkpoint is whole in any case. Does nothing outside the main thread.

    Of several processes each may get the signal at another moment, or only one gets it; JAX's own
    handler informs the others, and all stop after the same step.
    """

    def __init__(self, grace: float = GRACE):
        self.requested: signal.Signals | None = None
        self._grace = grace
        self._deferred = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interruption":
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and processes.count() == 1:
            # The interpreter calls handlers only between two instructions, and a compilation is
            # one; the socket is written to at once.
            self._ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            self._theirs = theirs
            self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        if self._before:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            self._theirs.close()  # ends the thread

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Marks a stretch that looks at ``requested`` itself, where it is fit to stop.

        Raises:
          Interrupted: at the end, if there was a request that it did not look at any more.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.requested is not None:
            self.end(_GO_ON)

    def requested_at(self, step: int) -> bool:
        """Reports whether to stop after this step; alike in all processes, and each must ask."""
        if processes.count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.requested = signal.SIGTERM
        return self.requested is not None

    def end(self, message: str) -> None:
        """Raises Interrupted, to which a request has led.

        Args:
          message: what is saved.
        """
        raise Interrupted(f"{self.requested.name}: {message}", self.requested)

    def _receive(self, number: int, _) -> None:
        if self.requested is not None:
            return  # ``_watch`` ends the program: an exception inside a compilation may crash it
        self.requested = signal.Signals(number)
        if not self._deferred:
            self.end(_GO_ON)

    def _watch(self) -> None:
        """Says what a signal leads to when it comes, and ends what does not end in time."""
        with self._ours:
            first = self._ours.recv(1)
            if not first:  # ``__exit__``
                return
            name = signal.Signals(first[0]).name
            _say(
                f"{name}: ends after the step under way, within {self._grace:g} s at most; once "
                "more ends at once"
            )
            self._ours.settimeout(self._grace)
            try:
                second = self._ours.recv(1)
                if not second:
                    return
                reason = f"{signal.Signals(second[0]).name}: ended"
            except TimeoutError:
                reason = f"{name}: not at the end of a step within {self._grace:g} s; ended"
        _say(f"{reason} without saving. The same command goes on from the newest checkpoint")
        os._exit(128 + first[0])


def _say(message: str) -> None:
    """Prints a line of its own, from whichever thread, also below a progress bar."""
    os.write(sys.stderr.fileno(), f"\n{message}\n".encode())


@contextmanager
def ending_by_ctrl_c() -> Iterator[None]:
    """Has SIGTERM end what is inside as Ctrl-C does, by KeyboardInterrupt; in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keeps SIGINT and SIGTERM waiting until what is inside is done; in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple] = []
    before = {one: signal.signal(one, lambda *given: came.append(given)) for one in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number, frame in came[:1]:
        if callable(before[signal.Signals(number)]):
            before[signal.Signals(number)](number, frame)
        else:
            signal.raise_signal(number)
