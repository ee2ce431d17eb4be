"""The recipes of docs/deployment.md run as they stand there: an outbound proxy, a private CA."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbguard import Guard, Refused
from fbguard.sandbox import Sandbox
from tests.servers.proxy import CA, Proxy, TlsEnd

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
PROXY_RECIPE, CA_RECIPE = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
DEADLINE = "5"  # seconds


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    sandbox = Sandbox()
    with sandbox.serve() as url:
        monkeypatch.setenv("FBGUARD_APP_ID", sandbox.app_id)
        monkeypatch.setenv("FBGUARD_APP_SECRET", sandbox.app_secret)
        monkeypatch.setenv("FBGUARD_GRAPH_URL", url)
        monkeypatch.setenv("FBGUARD_DEADLINE", DEADLINE)
        yield sandbox


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy()
    with proxy.running() as address:
        monkeypatch.setenv("OUTBOUND_PROXY", f"http://{address}")
        yield proxy


@pytest.fixture
def gateway(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsEnd]:
    """Give what ends TLS in front of Graph, with a certificate of the private CA."""
    graph = Guard.from_env()
    gateway = TlsEnd(graph.graph_url)
    graph.close()
    with gateway.running() as address:
        monkeypatch.setenv("FBGUARD_GRAPH_URL", f"https://{address}")
        monkeypatch.setenv("PRIVATE_CA", str(CA))
        yield gateway


def run(block: str) -> dict[str, Any]:
    """Run a block of the page and give the names that it leaves."""
    names: dict[str, Any] = {}
    exec(compile(block, "docs/deployment.md", "exec"), names)
    return names


def both_colours(guard: Guard, sandbox: Sandbox) -> None:
    """Ask from two loops of the app and from no loop, in turn, twice: connections are kept in between."""

    async def ask(user: str) -> None:
        for _ in range(2):
            info = await guard.acheck(sandbox.issue_token(user_id=user))
            assert info.user_id == user
        await asyncio.to_thread(ask_without_a_loop, "2000")
        assert (await guard.acheck(sandbox.issue_token(user_id=user))).user_id == user
        await guard.aclose_here()

    def ask_without_a_loop(user: str) -> None:
        assert guard.check(sandbox.issue_token(user_id=user)).user_id == user

    ask_without_a_loop("2001")
    for number in range(2):
        asyncio.run(ask(str(1000 + number)))
        ask_without_a_loop(str(3000 + number))


def test_plain_http_goes_through_the_proxy(
    sandbox: Sandbox,
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with run(PROXY_RECIPE)["guard"] as guard:
        both_colours(guard, sandbox)
    assert len(sandbox.calls) == 11
    lines = [line for line in proxy.lines if "/debug_token?" in line]
    assert len(lines) == len([call for call in sandbox.calls if "debug_token" in call.path])
    assert all(line.startswith("GET http://127.0.0.1:") for line in proxy.lines)
    told_nothing(caplog.text, proxy, sandbox)


def test_tls_goes_through_the_proxy_by_connect(
    sandbox: Sandbox,
    proxy: Proxy,
    gateway: TlsEnd,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    both = PROXY_RECIPE.replace("trust_env=False", "verify=tls, trust_env=False").replace(
        "def through_proxy",
        "tls = __import__('ssl').create_default_context(cafile=os.environ['PRIVATE_CA'])"
        "\n\n\ndef through_proxy",
    )
    with run(both)["guard"] as guard:
        both_colours(guard, sandbox)
    assert set(proxy.lines) == {f"CONNECT 127.0.0.1:{gateway.port} HTTP/1.1"}
    assert len(proxy.lines) < 9, "connections are kept"
    told_nothing(caplog.text, proxy, sandbox)


def told_nothing(log: str, proxy: Proxy, sandbox: Sandbox) -> None:
    assert log
    assert sandbox.app_secret not in log
    tokens = {token for line in proxy.lines for token in re.findall(r"input_token=([^& ]+)", line)}
    assert [token for token in tokens if token in log] == []


def test_the_private_ca_is_believed(sandbox: Sandbox, proxy: Proxy, gateway: TlsEnd) -> None:
    run(PROXY_RECIPE)["guard"].close()
    with run(CA_RECIPE)["guard"] as guard:
        both_colours(guard, sandbox)
    assert gateway.broken_handshakes == 0
    assert proxy.lines == []


@pytest.mark.parametrize("bundle", ["", "SSL_CERT_FILE"])
def test_d18_without_the_recipe_the_private_ca_is_nobody(
    bundle: str, sandbox: Sandbox, gateway: TlsEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bundle:
        monkeypatch.setenv(bundle, str(CA))
    with Guard.from_env() as guard, pytest.raises(Refused) as caught:
        guard.check(sandbox.issue_token())
    assert (caught.value.status, caught.value.reason) == (503, "unavailable")
    assert gateway.broken_handshakes > 0
    assert sandbox.calls == ()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_d18_the_environment_names_no_proxy(
    name: str, sandbox: Sandbox, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for spelling in (name, name.lower()):
        monkeypatch.setenv(spelling, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Guard.from_env() as guard:
        assert guard.check(sandbox.issue_token(user_id="42")).user_id == "42"
    assert proxy.lines == []
