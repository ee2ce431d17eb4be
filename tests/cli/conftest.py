"""A local Facebook whose secret is known, so that tests can look for it in what is printed."""

from __future__ import annotations

import socket

import pytest

from fbguard.sandbox import Sandbox

SECRET = "5ec7e7c0de5ec7e7c0de5ec7e7c0de01"


@pytest.fixture
def sandbox():
    return Sandbox(app_secret=SECRET)


@pytest.fixture
def url(sandbox):
    with sandbox.serve() as url:
        yield url


@pytest.fixture
def nobody():
    """Give an address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
