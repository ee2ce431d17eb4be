"""A guard's numbers, read by OpenTelemetry's own SDK."""

from __future__ import annotations

import gc

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fbguard import Refused
from fbguard.otel import Metrics
from fbguard.sandbox import Sandbox


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader):
    provider = MeterProvider(metric_readers=[reader])
    yield provider
    provider.shutdown()


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


def numbers(reader):
    """Give what is collected: by name, unit and the points by their attributes."""
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            assert scope.scope.name == "fbguard"
            for metric in scope.metrics:
                found[metric.name] = {
                    tuple(sorted(point.attributes.items())): point for point in metric.data.data_points
                }
    return found


def refuse(guard, token):
    with pytest.raises(Refused):
        guard.check(token)


def test_look_ups_are_counted_by_their_answer(reader, provider, sandbox):
    with sandbox.guard(on_event=Metrics(provider)) as guard:
        good, gone = sandbox.issue_token(), sandbox.issue_token(user_id="7")
        sandbox.log_out("7")
        for _ in range(3):
            guard.check(good)  # asked for once
        refuse(guard, gone)
        sandbox.throttle(4)
        refuse(guard, sandbox.issue_token())
        refuse(guard, sandbox.issue_token())  # left alone by now
    points = numbers(reader)["fbguard.look_up.duration"]
    assert {attributes: point.count for attributes, point in points.items()} == {
        (("fbguard.answer", "yes"),): 1,
        (("fbguard.answer", "no"), ("fbguard.reason", "logged_out")): 1,
        (("fbguard.answer", "unknown"), ("fbguard.reason", "throttled")): 2,
    }
    yes = points[(("fbguard.answer", "yes"),)]
    assert 0 < yes.sum < 10
    assert yes.explicit_bounds[0] == 0.005


def test_what_else_happens_is_counted_by_its_name(reader, provider, sandbox):
    with sandbox.guard(on_event=Metrics(provider)) as guard:
        token = sandbox.issue_token()
        guard.check(token)
        guard.expire_session(token)
        guard.forget_user("42")
        sandbox.fail(status=500, times=1)
        refuse(guard, sandbox.issue_token())
        guard.check(sandbox.issue_token())
    points = numbers(reader)["fbguard.events"]
    assert {attributes: point.value for attributes, point in points.items()} == {
        (("fbguard.event", "SessionEnded"),): 1,
        (("fbguard.event", "UserForgotten"),): 1,
        (("fbguard.event", "GraphStateChanged"), ("fbguard.reason", "unavailable")): 1,
        (("fbguard.event", "GraphStateChanged"), ("fbguard.reason", "ok")): 1,
    }


def test_how_a_guard_is(reader, provider, sandbox):
    metrics = Metrics(provider, attributes={"app": "main"})
    with sandbox.guard(on_event=metrics) as guard:
        metrics.watch(guard)
        guard.check(sandbox.issue_token())
        key = (("app", "main"),)

        def said():
            found = numbers(reader)
            names = ("fbguard.tokens.cached", "fbguard.graph.calls", "fbguard.degraded")
            return [found[name][key].value for name in names]

        assert said() == [1, 0, 0]
        sandbox.fail(status=500, times=1)
        refuse(guard, sandbox.issue_token())
        assert said() == [1, 0, 1]
        points = numbers(reader)["fbguard.look_up.duration"]
        assert all(("app", "main") in attributes for attributes in points)


def test_a_guard_that_is_gone_is_shown_no_more(reader, provider, sandbox):
    metrics = Metrics(provider)
    guard = sandbox.guard(on_event=metrics)
    metrics.watch(guard)
    assert "fbguard.tokens.cached" in numbers(reader)
    guard.close()
    del guard
    gc.collect()
    assert numbers(reader).get("fbguard.tokens.cached", {}) == {}


def test_a_second_guard_needs_a_metrics_of_its_own(provider, sandbox):
    metrics = Metrics(provider)
    with sandbox.guard(on_event=metrics) as guard:
        metrics.watch(guard)
        with pytest.raises(RuntimeError, match="of its own"):
            metrics.watch(guard)


def test_without_an_sdk_it_costs_nothing_and_says_nothing(sandbox):
    metrics = Metrics()
    with sandbox.guard(on_event=metrics) as guard:
        metrics.watch(guard)
        assert guard.check(sandbox.issue_token()).is_valid


def test_L05_labels_have_few_values(reader, provider, sandbox):  # noqa: N802
    with sandbox.guard(on_event=Metrics(provider)) as guard:
        secrets = [sandbox.app_secret]
        for number in range(200):
            user = f"10000000000000{number:03}"
            token = sandbox.issue_token(user_id=user)
            secrets += (token, user, guard.check(token).fingerprint, f"invented{number}")
            guard.expire_session(token)
            guard.forget_user(user)
            refuse(guard, f"invented{number}")
    # Of labels only: among the digits of a moment any short number may stand.
    labels = [attributes for points in numbers(reader).values() for attributes in points]
    assert 0 < len(labels) < 10
    assert not any(secret in str(labels) for secret in secrets)
