"""A browser without a window, where one is installed: what a page does with its scripts."""

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=5000",
)  # fmt: skip


TRIES = 6


def patiently(test: Callable) -> Callable:
    """Runs a test of a page again where it fails: on a busy machine the clock of a page without a
    window does not wait for pictures that are still being decoded."""

    @functools.wraps(test)
    def run(*arguments, **named):
        for _ in range(TRIES - 1):
            try:
                return test(*arguments, **named)
            except AssertionError:
                continue
        return test(*arguments, **named)

    return run


def run_page(page: Path, address: str = "", script: str = "") -> str:
    """Opens a page from disk, runs a script of the test in it, and returns the page as it is then.

    The test is skipped where there is no Chromium; it fails where the page's scripts do.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    if script:
        copy = page.with_name(f"with-script-{page.name}")
        copy.write_text(page.read_text() + f"<script>{script}</script>")
        page = copy
    profile = page.with_name("profile")
    command = [browser, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom"]
    done = subprocess.run(
        [*command, page.as_uri() + address], capture_output=True, text=True, timeout=120
    )
    errors = [line for line in done.stderr.splitlines() if re.search("CONSOLE|Uncaught", line)]
    assert errors == []
    assert done.returncode == 0, done.stderr
    return done.stdout
