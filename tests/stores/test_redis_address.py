"""Where a Redis is: URLs, good and bad, and what is shown of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fbguard import Guard
from fbguard.core.secret import Secret
from fbguard.stores.memory import MemoryStore
from fbguard.stores.redis import RedisStore
from fbguard.stores.redis.address import Address, parsed
from tests.support import APP_ID, SECRET, make_guard
from tests.threats.canaries import everything_logged, shown_exception

ROOT = Path(__file__).parents[2]
PASSWORD = "pa55-W0rd-canary-0123456789"
TLS = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
CA = str(ROOT / "tests/data/tls_ca.pem")


def address(kind: Any, *nodes: tuple[str, int], **more: Any) -> Address:
    return Address(kind, nodes, **more)


LABEL = 63 * "a"
NAME = f"{LABEL}.{LABEL}.{LABEL}.{61 * 'a'}"  # 253 characters

GOOD: dict[str, Address] = {
    "redis://localhost": address("single", ("localhost", 6379)),
    "redis://localhost/": address("single", ("localhost", 6379)),
    "redis://10.0.0.1:6380/3": address("single", ("10.0.0.1", 6380), db=3),
    "REDIS://Redis.Example.com": address("single", ("Redis.Example.com", 6379)),
    "redis://a_b-c.example:1": address("single", ("a_b-c.example", 1)),
    "redis://host.": address("single", ("host.", 6379)),
    f"redis://{NAME}": address("single", (NAME, 6379)),
    f"redis://{NAME}.:1": address("single", (f"{NAME}.", 1)),
    f"redis+cluster://{NAME},{LABEL}:1": address("cluster", (NAME, 6379), (LABEL, 1)),
    "redis://host:65535?db=12": address("single", ("host", 65535), db=12),
    "redis://[::1]": address("single", ("::1", 6379)),
    "redis://[2001:db8::1]:6380/1": address("single", ("2001:db8::1", 6380), db=1),
    "redis://:pw@host": address("single", ("host", 6379), password=Secret("pw")),
    "redis://me:pw@host": address("single", ("host", 6379), username="me", password=Secret("pw")),
    "redis://me@host": address("single", ("host", 6379), username="me"),
    "redis://:@host": address("single", ("host", 6379)),
    "redis://m%65:p%40%3A%2F%25@host": address(
        "single", ("host", 6379), username="me", password=Secret("p@:/%")
    ),
    "redis://me:p:w@host": address("single", ("host", 6379), username="me", password=Secret("p:w")),
    "redis://me:p@w@host": address("single", ("host", 6379), username="me", password=Secret("p@w")),
    "valkey://host": address("single", ("host", 6379)),
    "rediss://host": address("single", ("host", 6379), options=TLS),
    "valkeys://host:6380/2": address("single", ("host", 6380), db=2, options=TLS),
    f"rediss://host?ssl_ca_certs={CA}": address("single", ("host", 6379), options=TLS | {"ssl_ca_certs": CA}),
    f"rediss://host?ssl_certfile={CA}&ssl_keyfile={CA}": address(
        "single", ("host", 6379), options=TLS | {"ssl_certfile": CA, "ssl_keyfile": CA}
    ),
    "unix:///run/redis.sock": address("single", path="/run/redis.sock"),
    "unix:///run/a%20b.sock?db=3": address("single", path="/run/a b.sock", db=3),
    "unix://me:pw@/run/redis.sock": address(
        "single", path="/run/redis.sock", username="me", password=Secret("pw")
    ),
    "redis+sentinel://host/mymaster": address("sentinel", ("host", 26379), service="mymaster"),
    "redis+sentinel://a:1,b,[::1]:3/my.master-1/5": address(
        "sentinel", ("a", 1), ("b", 26379), ("::1", 3), service="my.master-1", db=5
    ),
    "redis+sentinel://me:pw@a/m?sentinel_username=he&sentinel_password=p%26w": address(
        "sentinel", ("a", 26379), service="m", username="me", password=Secret("pw"),
        sentinel_username="he", sentinel_password=Secret("p&w"),
    ),
    "rediss+sentinel://a/m": address("sentinel", ("a", 26379), service="m", options=TLS),
    "valkeys+sentinel://a/m?db=1": address("sentinel", ("a", 26379), service="m", db=1, options=TLS),
    "redis+cluster://a": address("cluster", ("a", 6379)),
    "redis+cluster://:pw@a:7000,b:7001/": address(
        "cluster", ("a", 7000), ("b", 7001), password=Secret("pw")
    ),
    "rediss+cluster://a": address("cluster", ("a", 6379), options=TLS),
    "valkey+cluster://a": address("cluster", ("a", 6379)),
}  # fmt: skip

BAD: dict[str, str] = {
    "": "not a URL",
    " ": "not a URL",
    " redis://host": "not a URL",
    "redis://host ": "not a URL",
    "redis://ho st": "not a URL",
    "redis://host\n": "not a URL",
    "redis://host\x00": "not a URL",
    "redis://hö.example": "not a URL",
    "redis://host#fragment": "not a URL",
    "redis://:pass#word@host": "not a URL",  # a # must be written as %23
    "redis://[::1": "not a URL",
    "redis://[nonsense]": "not a URL|name a host",
    "host": "must begin with",
    "host:6379": "must begin with",
    "//host": "must begin with",
    "http://host": "must begin with",
    "redisss://host": "must begin with",
    "redis+tls://host": "must begin with",
    "sentinel://host/m": "must begin with",
    "memory://": "must begin with",
    "redis:": "name a host",
    "redis://": "name a host",
    "redis:///0": "name a host",
    "redis://:pw@": "name a host",
    "redis://host:": "name a host",
    "redis://host:0": "name a host",
    "redis://host:65536": "name a host",
    "redis://host:-1": "name a host",
    "redis://host:port": "name a host",
    "redis://host:6379:6380": "name a host",
    "redis://::1": "name a host",
    "redis://.": "name a host",
    "redis://.host": "name a host",
    "redis://host..": "name a host",
    "redis://a..b:1": "name a host",
    f"redis://{LABEL}a": "name a host",
    f"redis://a.{LABEL}a.b:1": "name a host",
    f"redis://{NAME}a": "name a host",
    f"redis://{NAME}a.": "name a host",
    f"redis://{NAME}a:1": "name a host",
    f"redis+sentinel://a,{LABEL}a/m": "name a host",
    f"redis+cluster://{NAME},a..b": "name a host",
    "redis+cluster://a,": "name a host",
    "redis+cluster://a,,b": "name a host",
    "redis+cluster://a;b": "name a host",
    "redis://host/x": "a number",
    "redis://host/-1": "a number",
    "redis://host/1.0": "a number",
    "redis://host?db=": "a number",
    "redis://host?db=x": "a number",
    "redis://host/0/1": "too long",
    "redis+cluster://host/0": "too long",
    "redis+sentinel://host/m/0/1": "too long",
    "redis+sentinel://host": "name the service",
    "redis+sentinel://host/": "name the service",
    "redis+sentinel://host/a%20b": "name the service",
    "redis://host?foo=1": "unknown option; known are db",
    "redis://host?ssl_cert_reqs=none": "unknown option; known are db",
    "rediss://host?ssl_cert_reqs=none": "unknown option; known are db",
    "redis://:pass?word@host": "unknown option",
    "rediss://host?ssl_check_hostname=false": "unknown option; known are db",
    "redis://host?password=pw": "unknown option; known are db",
    "redis://host?DB=1": "unknown option; known are db",
    "redis://host?db=1&db=2": "twice",
    "redis://host/1?db=2": "twice",
    "redis://host?sentinel_password=pw": "for sentinels",
    "redis+cluster://host?sentinel_username=me": "for sentinels",
    "unix:///run/x?sentinel_password=pw": "for sentinels",
    "redis+cluster://host?db=1": "no databases",
    f"redis://host?ssl_ca_certs={CA}": "with TLS",
    f"unix:///run/x?ssl_ca_certs={CA}": "with TLS",
    "rediss://host?ssl_ca_certs=/nowhere": "ssl_ca_certs names no file",
    "rediss://host?ssl_ca_certs=": "ssl_ca_certs names no file",
    "unix://": "path of a socket",
    "unix:": "path of a socket",
    "unix://run/redis.sock": "path of a socket",  # two slashes: a host, and a path that was not meant
    "unix:///run/x?db=x": "a number",
}


@pytest.mark.parametrize("url", GOOD)
def test_a_url_that_is_one(url: str):
    assert parsed(Secret(url)) == GOOD[url]
    RedisStore(url)  # connects nowhere
    RedisStore(Secret(url))


@pytest.mark.parametrize("url", BAD)
def test_a_url_that_is_none(url: str):
    with pytest.raises(ValueError, match=f"^store: .*({BAD[url]})"):
        RedisStore(url)
    with pytest.raises(ValueError, match=f"^store: .*({BAD[url]})"):
        make_guard(store=url)


@pytest.mark.parametrize("url", [None, b"redis://host", 6379, ["redis://host"], object()])
def test_what_is_no_text_is_no_url(url: Any):
    with pytest.raises(TypeError, match="store"):
        RedisStore(url)


@pytest.mark.parametrize("store", [b"redis://host", 6379, {"redis://host"}, object(), True])
def test_a_guard_takes_a_store_or_a_url(store: Any):
    with pytest.raises(TypeError, match="store must be a URL or"):
        make_guard(store=store)


LEAKY = [
    "redis://me:{}@host:port",
    "redis://me:{}@host/x",
    "redis://:{} @host",
    "redis://:{}#@host",
    "redi://:{}@host",
    "redis://host?password={}",
    "redis://:{}@host?foo=1",
    "redis+sentinel://:{}@host",
    "redis+sentinel://host/m/x?sentinel_password={}",
    "redis+cluster://:{}@host/1",
    "rediss://:{}@host?ssl_ca_certs=/nowhere",
    "rediss://host?ssl_keyfile=&db={}",
    "redis://:{}/more@host",
    "redis://:a/{}@host",
    "redis+sentinel://:a/{}@host",
    "redis+cluster://:a/{}/b@host",
    "redis://:a?{}@host",
    "redis://:a?db={}@host",
    "redis://:a#{}@host",
    "unix://:{}@?db=0",
    "{}",
    "redis://{}:6379:6379",
    "redis://host?{}=1&{}=2",
    "redis://{}../more@host",
]


def shown(call: Any) -> str:
    try:
        call()
    except ValueError as error:
        return shown_exception(error)
    raise AssertionError("it was taken")


@pytest.mark.parametrize("form", LEAKY)
def test_a_wrong_url_is_shown_nowhere(form: str, monkeypatch: pytest.MonkeyPatch):
    url = form.replace("{}", PASSWORD)
    monkeypatch.setenv("FBGUARD_APP_ID", APP_ID)
    monkeypatch.setenv("FBGUARD_APP_SECRET", SECRET)
    monkeypatch.setenv("FBGUARD_REDIS_URL", url)
    with everything_logged() as log:
        for call in (
            lambda: RedisStore(url),
            lambda: make_guard(store=url),
            lambda: Guard.from_mapping({"app_id": APP_ID, "app_secret": SECRET, "store": url}),
            Guard.from_env,
        ):
            # The test's own frames hold it in the clear; ours do not.
            text = shown(call).replace(repr(url), "")
            assert PASSWORD not in text
    assert PASSWORD not in "".join(log.shown)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{PASSWORD}@host/1",
        f"unix://me:{PASSWORD}@/run/redis.sock",
        f"redis+sentinel://me:{PASSWORD}@host/m?sentinel_username=me&sentinel_password={PASSWORD}",
        f"redis+cluster://me:{PASSWORD}@host",
    ],
)
def test_a_store_shows_where_it_is_and_no_more(url: str):
    store = RedisStore(url)
    with make_guard(store=store) as guard:
        text = f"{store!r} {store} {store._address!r} {vars(store)!r} {guard!r} {guard._look_ups!r}"
        assert PASSWORD not in text
    assert repr(store).startswith("<RedisStore ")
    assert ("/run/redis.sock" if url.startswith("unix") else "host:") in repr(store)


# -- a guard's store -------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FBGUARD_APP_ID", APP_ID)
    monkeypatch.setenv("FBGUARD_APP_SECRET", SECRET)
    monkeypatch.setenv("FBGUARD_REDIS_URL", f"redis://:{PASSWORD}@from.environment:1/2")
    return monkeypatch


def address_of(guard: Guard) -> str:
    assert guard._revoker.shared is not None
    links = guard._revoker.shared._space._links  # type: ignore[attr-defined]
    return str(links._make.__closure__[0].cell_contents._address)


def test_the_environment_names_a_store(environment: pytest.MonkeyPatch):
    with Guard.from_env() as guard:
        assert address_of(guard) == "single from.environment:1 db 2"
        assert guard.health().store is not None


def test_what_is_given_wins(environment: pytest.MonkeyPatch):
    with Guard.from_env(store="redis://given") as guard:
        assert address_of(guard) == "single given:6379 db 0"
    with Guard.from_env(store=None) as guard:
        assert guard.health().store is None
    with Guard.from_env(store=MemoryStore()) as guard:
        assert guard.health().store is not None
        assert isinstance(guard._revoker.shared, object)
    environment.setenv("FBGUARD_REDIS_URL", "nonsense")
    with Guard.from_env(store="redis://given") as guard:
        assert address_of(guard) == "single given:6379 db 0"


def test_without_a_variable_there_is_no_store(environment: pytest.MonkeyPatch):
    environment.delenv("FBGUARD_REDIS_URL")
    with Guard.from_env() as guard:
        assert guard.health().store is None


@pytest.mark.parametrize("text", ["", "nonsense", "redis://"])
def test_a_wrong_variable_is_no_reason_to_go_on_alone(environment: pytest.MonkeyPatch, text: str):
    environment.setenv("FBGUARD_REDIS_URL", text)
    with pytest.raises(ValueError, match=r"^FBGUARD_REDIS_URL: "):
        Guard.from_env()


WITHOUT = """
import sys
sys.modules["redis"] = None  # as if it were not installed
from fbguard import Guard
from tests.support import make_guard
with make_guard() as guard:
    assert guard.health().store is None  # who has no store needs none of it
for make in (lambda: make_guard(store="redis://localhost"), Guard.from_env):
    try:
        make()
    except ImportError as error:
        print(error)
try:
    from fbguard.stores.redis import RedisStore
except ImportError as error:
    print(error)
from fbguard.stores.redis.address import parsed
"""


@pytest.mark.slow
def test_without_the_library_nobody_goes_on_alone():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.rsplit("from fbguard.stores.redis.address", 1)[0]],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ
        | {"FBGUARD_APP_ID": APP_ID, "FBGUARD_APP_SECRET": SECRET, "FBGUARD_REDIS_URL": "redis://localhost"},
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "RedisStore needs redis-py: pip install 'fbguard[redis]'\n" * 3
