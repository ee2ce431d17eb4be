"""Programs run as a user runs them; waiting is reading their pipes, with a deadline and never a sleep."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
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
        return self.process.returncode, told(rest.encode()).decode()


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


class Typist:
    """A program at a pseudo terminal, and somebody who types."""

    def __init__(self, words: list[str], variables: Mapping[str, str], columns: int = 80) -> None:
        self._end, other = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            # Not FBGUARD: asyncio's debug mode writes to the terminal when the machine is slow.
            [sys.executable, "-W", "error", "-m", "fbguard.cli", *words],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment(**variables, COLUMNS=str(columns), TERM="xterm-256color"),
            start_new_session=True,
        )
        os.close(other)

    def _read(self) -> bool:
        """Read what is there; False at the end."""
        ready, _, _ = select.select([self._end], [], [], PATIENCE)
        assert ready, f"it says nothing more after {self.seen!r}"
        try:
            read = os.read(self._end, 4096)
        except OSError:  # what Linux says once the program has closed its side
            return False
        self.seen += read.decode()
        return bool(read)

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, the last that stands on the terminal, and type."""
        deadline = time.monotonic() + PATIENCE
        while not self.seen.endswith(question):
            assert time.monotonic() < deadline
            assert self._read(), f"it ended without asking: {self.seen!r}"
        os.write(self._end, text.encode())

    def end(self) -> int:
        """Read all that it still says; return the exit code."""
        while self._read():
            pass
        os.close(self._end)
        return self.process.wait(PATIENCE)
