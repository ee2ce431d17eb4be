"""Fixtures of the tests over real sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from fbguard.facebook import pools
from tests.upstream.asking import Asker, build
from tests.upstream.certificates import OPENSSL, Certificates
from tests.upstream.faulty import FaultyServer
from tests.upstream.scripts import healthy, probed


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer(healthy()) as server:
        server.probe = probed()
        yield server


@pytest.fixture(params=["sync", "async"])
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[..., Asker]]:
    """Give ``opened(url, **options)``: a new guard to ask, in each colour."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(Asker(build(url, **options), request.param))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if OPENSSL is None:
        pytest.skip("there is no openssl command to make certificates with")
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """Make the shipped TLS context, and nothing else, trust the private authority, too."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_verify_locations(certificates.authority)
    monkeypatch.setattr(pools, "_tls", lambda: context)
    return certificates


@pytest.fixture
def tls_server() -> Iterator[Callable[..., FaultyServer]]:
    """Give ``tls_server(context)``: an https server that answers well."""
    with ExitStack() as stack:

        def start(context: ssl.SSLContext, **options: Any) -> FaultyServer:
            return stack.enter_context(FaultyServer(healthy(), tls=context, **options))

        yield start
