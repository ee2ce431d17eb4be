"""The house: every module stands on a floor, imports its own floor or lower, and there is no cycle."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fbguard

ROOT = Path(fbguard.__file__).parent

# From the ground up; a name stands for a module or for a whole package.
FLOORS = (
    (
        "core.answers", "core.carrier", "core.clock", "core.errors", "core.forks", "core.health",
        "core.html", "core.languages", "core.limited_login", "core.messages", "core.options",
        "core.process", "core.reasons", "core.refusal_page", "core.rendering", "core.secret",
        "core.served", "core.settings", "core.signing", "core.token",
        "core.user_index", "events",
    ),
    (
        "core.challenge", "core.credentials", "core.judge", "core.policy", "core.preflight",
        "core.requirement", "core.rule", "core.rule_index", "core.sources",
        "facebook.batch", "facebook.call", "facebook.codes", "facebook.debug_token", "facebook.graph_error",
        "facebook.login", "facebook.oidc", "facebook.rest", "facebook.rest_answers",
        "facebook.signed_request", "facebook.strict_json", "facebook.usage", "facebook.webhook",
    ),
    (
        "core.background", "core.bounded", "core.breaker", "core.cache", "core.entries", "core.flights",
        "core.generations", "core.governor", "core.limits", "core.loops", "core.pace", "core.slots",
        "facebook.connection", "facebook.credentials", "facebook.graph", "facebook.id_tokens",
        "facebook.line", "facebook.pools",
        "facebook.quiet", "facebook.transport", "facebook.upstream", "revocation.live",
        "revocation.tombstones",
        "stores",
    ),
    ("assembly", "core.lookups", "core.loop_lookups", "core.validator", "guard", "legacy", "login", "logins",
     "mounts", "revocation", "sessions", "verdicts"),
    ("context", "claims", "entrance", "facebook.auth", "heads", "refusals", "reports", "sends", "streams",
     "asgi", "wsgi", "wsgi_refusals", "surroundings", "view_request", "short_way", "connections", "copies",
     "live", "marks"),
    ("integrations",),
    ("decorator", "frameworks"),  # the framework around a view is looked for among those that are loaded
    ("",),  # fbguard/__init__.py, which re-exports
    ("sandbox",),
    ("debugger", "otel", "testing"),
    ("cli", "__main__"),
)  # fmt: skip

# Where third-party packages may be imported; everywhere else it is the standard library only.
THIRD_PARTY = {
    "core.cache": {"cachetools"},
    "core.limits": {"cachetools"},
    "facebook.auth": {"httpx"},
    "facebook.oidc": {"joserfc"},
    "facebook.pools": {"aiohttp", "httpx", "yarl"},
    "facebook.transport": {"httpx"},
    "login.used": {"cachetools"},
    "guard": {"httpx"},  # for a type only
    "otel": {"opentelemetry"},
    "stores.redis": {"redis"},
    "stores.shared": {"cachetools"},
    "legacy.client": {"httpx"},
    "legacy.sessions": {"cachetools"},
    "integrations.django": {"asgiref", "django"},
    "integrations.django_checks": {"django"},
    "integrations.django_settings": {"django"},
    "integrations.falcon": {"falcon"},
    "integrations.fastapi": {"fastapi", "starlette"},
    "integrations.flask": {"flask", "werkzeug"},
    "integrations.flask_views": {"flask", "werkzeug"},
    "integrations.litestar": {"litestar"},
    "integrations.quart": {"flask", "quart", "werkzeug"},
    "integrations.starlette": {"starlette"},
    "sandbox.signing_keys": {"joserfc"},
    "sandbox.transport": {"httpx"},
    "testing": {"pytest"},
    "cli": {"flask", "httpx", "rich", "starlette", "typer", "uvicorn", "werkzeug"},
    "cli.coverage": {"django", "fastapi", "flask", "quart"},
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
EMPTY_PACKAGES = {"cli.coverage", "core", "debugger", "facebook", "integrations", "login"}  # a docstring each


def floor_of(module):
    for number, names in enumerate(FLOORS):
        if any(module == name or (name and module.startswith(f"{name}.")) for name in names):
            return number
    raise LookupError(f"{module} stands on no floor: give it one in FLOORS")


def imports_of(module, *, at_import_time=False):
    """Give the names of what a module imports, absolute; with at_import_time not those inside functions."""
    tree = ast.parse(MODULES[module].read_text())
    for node in walk(tree, at_import_time):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("fbguard.") in MODULES else node.module


def walk(node, at_import_time):
    for child in ast.iter_child_nodes(node):
        if at_import_time and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_import_time and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from walk(child, at_import_time)


def own(name):
    return name.removeprefix("fbguard").removeprefix(".") if name.partition(".")[0] == "fbguard" else None


@pytest.mark.parametrize("module", sorted(set(MODULES) - EMPTY_PACKAGES))
def test_imports_go_down_or_stay_on_the_floor(module):
    above = {
        name
        for name in imports_of(module)
        if own(name) is not None
        and own(name) not in EMPTY_PACKAGES
        and floor_of(own(name)) > floor_of(module)
    }
    assert not above


@pytest.mark.parametrize("module", sorted(MODULES))
def test_third_party_imports_stand_where_the_floor_says(module):
    allowed = {
        package
        for name, packages in THIRD_PARTY.items()
        if f"{module}.".startswith(f"{name}.")
        for package in packages
    }
    roots = {name.partition(".")[0] for name in imports_of(module)}
    assert roots - sys.stdlib_module_names - {"fbguard"} <= allowed


def test_there_is_no_import_cycle():
    graph = {
        module: {own(name) for name in imports_of(module, at_import_time=True) if own(name) is not None}
        - {module}
        for module in MODULES
        if module
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError naming the modules


def test_every_floor_is_inhabited():
    for names in FLOORS:
        for name in names:
            assert any(module == name or module.startswith(f"{name}.") for module in MODULES), name
