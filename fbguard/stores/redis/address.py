"""Where a Redis is: the URLs that :class:`fbguard.stores.redis.RedisStore` takes. Asks nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from fbguard.core.secret import Secret

Kind = Literal["single", "sentinel", "cluster"]

_SUFFIXES: Final[Mapping[str, Kind]] = {"": "single", "+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    f"{name}{'s' if tls else ''}{suffix}": (kind, tls)
    for name in ("redis", "valkey")
    for tls in (False, True)
    for suffix, kind in _SUFFIXES.items()
}
_PORTS: Final[Mapping[Kind, int]] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_LAST_PORT: Final = 65_535
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TEXTS: Final = ("sentinel_username", "sentinel_password")
_OPTIONS: Final = ("db", *_FILES, *_TEXTS)
# As far as names of DNS go: labels of 63 characters, 253 in all, without the dot that may be the last.
_LABEL: Final = r"[A-Za-z0-9_-]{1,63}"
_NAME: Final = rf"(?![^:]{{253}}(?!\.?(:|$))){_LABEL}(\.{_LABEL})*\.?"
_HOST: Final = re.compile(rf"(?P<host>\[[0-9A-Fa-f:.]+\]|{_NAME})(:(?P<port>[0-9]{{1,5}}))?")
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """``nodes`` are hosts and ports: the server, the sentinels, or some nodes of the cluster.

    ``path`` is a UNIX socket's instead. ``options`` are those of redis-py's clients that are no secret.
    """

    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    path: str | None = None
    service: str | None = None
    db: int = 0
    username: str | None = None
    password: Secret | None = None
    sentinel_username: str | None = None
    sentinel_password: Secret | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        """Return it without user and password."""
        where = self.path or ",".join(f"{host}:{port}" for host, port in self.nodes)
        return f"{self.kind} {where}{f'/{self.service}' if self.service else ''} db {self.db}"


def parsed(url: Secret) -> Address:
    """Return what a URL says. Raises ValueError that shows nothing of it.

    ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` with TLS, ``unix:///path[?db=0]``;
    ``redis+sentinel://host[:port][,host...]/service[/db]``; ``redis+cluster://host[:port][,host...]``. Each
    also as ``valkey``. Options: ``db``, ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` (paths), and for
    sentinels of their own ``sentinel_username`` and ``sentinel_password``.
    """
    if not _is_url(url):
        raise ValueError("store: not a URL")
    options = _options(url)
    scheme = urlsplit(url.reveal()).scheme
    if scheme == "unix":
        return _unix(url, options)
    if scheme not in _SCHEMES:
        raise ValueError(
            "store: the URL must begin with redis://, rediss://, redis+sentinel:// or the like; a file is "
            "SQLiteStore(path)"
        )
    kind, tls = _SCHEMES[scheme]
    _check(kind, options)
    service, db = _path(kind, url)
    return Address(
        kind,
        _nodes(url, _PORTS[kind]),
        service=service,
        db=_db(options, db),
        **_login(url),
        sentinel_username=_text(options.get("sentinel_username")),
        sentinel_password=options.get("sentinel_password"),
        options=_tls(options) if tls else _no_tls(options),
    )


def _is_url(url: Secret) -> bool:
    try:
        return re.fullmatch(r"[\x21-\x7e]+", url.reveal()) is not None and not urlsplit(url.reveal()).fragment
    except ValueError:
        return False


def _unix(url: Secret, options: Mapping[str, Secret]) -> Address:
    _check("single", options)
    path = unquote(urlsplit(url.reveal()).path)
    if not path or urlsplit(url.reveal()).netloc.rpartition("@")[2]:
        raise ValueError("store: a unix:// URL needs the path of a socket, behind three slashes")
    return Address("single", (), path=path, db=_db(options, None), **_login(url), options=_no_tls(options))


def _login(url: Secret) -> dict[str, Any]:
    userinfo, has_login, _ = urlsplit(url.reveal()).netloc.rpartition("@")
    if not has_login:
        return {}
    username, _, password = userinfo.partition(":")
    return {
        "username": unquote(username) or None,
        "password": Secret(unquote(password)) if password else None,
    }


def _nodes(url: Secret, port: int) -> tuple[tuple[str, int], ...]:
    found = [_HOST.fullmatch(one) for one in urlsplit(url.reveal()).netloc.rpartition("@")[2].split(",")]
    nodes = [(one["host"].strip("[]"), int(one["port"] or port)) for one in found if one is not None]
    if len(nodes) != len(found) or not all(0 < number <= _LAST_PORT for _, number in nodes):
        raise ValueError("store: the URL must name a host, or hosts with commas between them")
    return tuple(nodes)


def _path(kind: Kind, url: Secret) -> tuple[str | None, Secret | None]:
    """Return service and number of the database, as far as the path names them."""
    # Secrets: with a slash in it that should have been %2F this is half of a password.
    parts = [Secret(part) for part in urlsplit(url.reveal()).path.split("/") if part]
    service = parts.pop(0) if kind == "sentinel" and parts else None
    if kind == "sentinel" and (service is None or not _SERVICE.fullmatch(service.reveal())):
        raise ValueError("store: a sentinel URL must name the service, as in redis+sentinel://host/mymaster")
    if len(parts) > 1 or (kind == "cluster" and parts):
        raise ValueError("store: the path of the URL is too long")
    return _text(service), parts[0] if parts else None


def _check(kind: Kind, options: Mapping[str, Secret]) -> None:
    """Refuse what would have no effect."""
    if kind != "sentinel" and any(name in options for name in _TEXTS):
        raise ValueError("store: sentinel_username and sentinel_password are for sentinels")
    if kind == "cluster" and "db" in options:
        raise ValueError("store: a cluster has no databases")


def _db(options: Mapping[str, Secret], in_path: Secret | None) -> int:
    if "db" in options and in_path is not None:
        raise ValueError("store: the URL names the database twice")
    given = options.get("db", in_path)
    if given is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", given.reveal()):
        raise ValueError("store: the database of the URL must be a number")
    return int(given.reveal())


def _options(url: Secret) -> dict[str, Secret]:
    # Secrets, the names, too: behind a ? that should have been %3F stands half of a password.
    query = [
        (Secret(name), Secret(value))
        for name, value in parse_qsl(urlsplit(url.reveal()).query, keep_blank_values=True)
    ]
    if not {*_OPTIONS}.issuperset(name.reveal() for name, _ in query):
        raise ValueError(f"store: the URL has an unknown option; known are {', '.join(_OPTIONS)}")
    options = {name.reveal(): value for name, value in query}
    if len(options) != len(query):
        raise ValueError("store: the URL names an option twice")
    return options


def _tls(options: Mapping[str, Secret]) -> dict[str, Any]:
    """Return what TLS needs; certificates are checked always, and files must be there."""
    files = {name: options[name].reveal() for name in _FILES if name in options}
    for name, path in files.items():
        if not Path(path).is_file():
            raise ValueError(f"store: {name} names no file")
    return {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True, **files}


def _no_tls(options: Mapping[str, Secret]) -> dict[str, Any]:
    if any(name in options for name in _FILES):
        raise ValueError("store: certificates are for URLs with TLS, as in rediss://")
    return {}


def _text(value: Secret | None) -> str | None:
    return None if value is None else value.reveal()
