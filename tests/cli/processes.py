"""Programs run as a user runs them; waiting is reading their pipes, with a deadline and never a sleep."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PATIENCE = 30.0  # seconds until a program that hangs is killed, which fails the test
FBGUARD = [sys.executable, "-X", "dev", "-W", "error", "-m", "fbguard.cli"]
FOLDED = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"}  # what would change how things look


# asyncio's debug mode, which -X dev switches on, tells of each step that a busy machine has made slow.
_SLOW_STEP = re.compile(rb"Executing <[^\n]* took \d+\.\d+ seconds\n")


def told(stderr: bytes) -> bytes:
    """Return what a program has told of itself."""
    return _SLOW_STEP.sub(b"", stderr)


def environment(**variables: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in FOLDED}
    return plain | {"PYTHONIOENCODING": "utf-8"} | variables


def fbguard(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return run([*FBGUARD, *words], **variables)


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )


class Program:
    """A program that runs until it is told to stop."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read its output, line by line, until one matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen += line
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"it ended without saying {pattern!r}:\n{self.seen}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit code and everything it wrote after what was read."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, rest


@contextmanager
def running(command: list[str], variables: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run a program while the block runs; its two outputs are one."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=environment(**(variables or {})),
    ) as process:
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            yield Program(process)
        finally:
            watchdog.cancel()
            watchdog.join()
            if process.poll() is None:
                process.kill()
