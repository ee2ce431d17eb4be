"""Row L05: what traces hold of a guard's calls, by the instrumentation that people install."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import aiohttp
import httpx
import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fbguard.sandbox import Sandbox
from tests.login.browsers import COOKIE, REDIRECT_URI, Browser


@pytest.fixture(scope="module")
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentors = AioHttpClientInstrumentor(), HTTPXClientInstrumentor()
    for one in instrumentors:
        one.instrument(tracer_provider=provider)
    yield exporter
    for one in instrumentors:
        one.uninstrument()
    provider.shutdown()


@pytest.fixture(params=[None, httpx.AsyncHTTPTransport], ids=["aiohttp", "httpx"])
def transport(request):
    return request.param


def urls(spans: InMemorySpanExporter) -> list[str]:
    found = [span.attributes or {} for span in spans.get_finished_spans()]
    return [str(one.get("http.url") or one.get("url.full")) for one in found]


@pytest.mark.parametrize("way", ["sync", "async", "batch"])
def test_L05_a_look_up_is_in_no_trace(spans, transport, way):
    sandbox = Sandbox()
    with sandbox.serve() as url:
        guard = sandbox.guard(graph_url=url, transport=transport, clock=None, batch=way == "batch")
        tokens = [sandbox.issue_token(user_id=str(number)) for number in (1, 2, 3)]

        async def main() -> None:
            await asyncio.gather(*map(guard.acheck, tokens))
            await guard.aclose()

        spans.clear()
        if way == "sync":
            for token in tokens:
                guard.check(token)
            guard.close()
        else:
            asyncio.run(main())
        assert sandbox.calls
        assert urls(spans) == []


def test_L05_what_ends_and_begins_sessions_is_in_no_trace(spans, transport):
    sandbox = Sandbox()
    with sandbox.serve() as url:
        options = {"redirect_uri": REDIRECT_URI, "token_from": ("header", f"cookie:{COOKIE}"), "clock": None}
        with sandbox.guard(graph_url=url, transport=transport, **options) as guard:
            spans.clear()
            browser = Browser("wsgi", guard)
            assert browser.log_in(sandbox).status == 303
            guard.expire_session(browser.jar[COOKIE], upstream="revoke")
        assert {call.method for call in sandbox.calls} >= {"POST", "DELETE"}
        assert urls(spans) == []


def test_L05_the_apps_own_calls_are_traced_as_ever(spans, transport):
    sandbox = Sandbox()

    async def main(url: str) -> None:
        async with sandbox.guard(graph_url=url, transport=transport, clock=None) as guard:
            await guard.acheck(sandbox.issue_token())
            async with aiohttp.ClientSession() as session, session.get(f"{url}/own?a=1"):
                pass
            async with httpx.AsyncClient() as client:
                await client.get(f"{url}/own?a=2")

    spans.clear()
    with sandbox.serve() as url:
        asyncio.run(main(url))
    assert [parse_qs(urlsplit(one).query) for one in urls(spans)] == [{"a": ["1"]}, {"a": ["2"]}]


def test_L05_nor_is_a_tracer_that_watches_every_session(transport):
    """As Sentry's and others do: they add themselves to whatever aiohttp.ClientSession is made."""
    seen: list[str] = []
    made = aiohttp.ClientSession.__init__

    async def started(_session, _context, params):
        seen.append(str(params.url))

    def init(self, *args, **options):
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(started)
        made(self, *args, **options | {"trace_configs": [*(options.get("trace_configs") or ()), trace]})

    sandbox = Sandbox()

    async def main(url: str) -> None:
        async with sandbox.guard(graph_url=url, transport=transport, clock=None) as guard:
            await guard.acheck(sandbox.issue_token())
            async with aiohttp.ClientSession() as session, session.get(f"{url}/own"):
                pass

    with pytest.MonkeyPatch.context() as patch, sandbox.serve() as url:
        patch.setattr(aiohttp.ClientSession, "__init__", init)
        asyncio.run(main(url))
    assert [urlsplit(one).path for one in seen] == ["/own"]
