"""The judge: a token's facts against what a route asks. Pure: no clock, no I/O."""

from __future__ import annotations

from fbguard.core.limited_login import GRANTABLE, LIMITED_LOGIN
from fbguard.core.reasons import Finding
from fbguard.core.requirement import PathParams, Requirement, Target
from fbguard.core.token import TokenInfo


def judge(
    info: TokenInfo,
    requirement: Requirement,
    *,
    app_id: str,
    now: float,
    path_params: PathParams | None = None,
) -> Finding | None:
    """Compare a token's facts with a requirement; return None for yes, else why not.

    ``now`` is wall time in seconds. The order is fixed: app id, Graph's own error, validity, expiry,
    type, remaining life, login age, data access, scopes, any_scope, target. Raises RuntimeError
    for a target whose path parameter is not there: a mistake in the application, never a pass.
    """
    return (
        _judge_token(info, app_id, now)
        or _judge_kind_and_age(info, requirement, now)
        or _judge_scopes(info, requirement, now)
        or _judge_target(info, requirement, path_params)
    )


def _judge_token(info: TokenInfo, app_id: str, now: float) -> Finding | None:
    # Without an app id Graph could not read the token, and said so in the error.
    if info.app_id and info.app_id != app_id:
        return Finding("wrong_app")
    if info.error is not None:
        return Finding(info.error.reason, info.error.code, info.error.subcode)
    if not info.is_valid or info.app_id != app_id:
        return Finding("invalid_token")
    if 0 < info.expires <= now:
        return Finding("expired")
    return None


def _judge_kind_and_age(info: TokenInfo, requirement: Requirement, now: float) -> Finding | None:
    if info.type not in requirement.token_types:
        return Finding("limited_login" if info.type == LIMITED_LOGIN else "wrong_token_type")
    if info.expires and info.expires - now < requirement.min_remaining:
        return Finding("expires_soon")
    max_age = requirement.max_login_age
    if max_age is not None and (not info.issued or now - info.issued > max_age):
        return Finding("login_too_old", max_age=int(max_age))
    return None


def _judge_scopes(info: TokenInfo, requirement: Requirement, now: float) -> Finding | None:
    scopes, any_scope = requirement.scopes, requirement.any_scope
    if (scopes or any_scope) and 0 < info.data_access_expires <= now:
        return Finding("data_access_expired")
    if not requirement.scope_set <= info.scopes:
        missing = tuple(scope for scope in scopes if scope not in info.scopes)
        if info.type == LIMITED_LOGIN and not GRANTABLE.issuperset(missing):
            return Finding("limited_login", required=scopes, missing=scopes)  # of another token, so all
        return Finding("insufficient_scope", required=scopes, missing=missing)
    if any_scope and info.scopes.isdisjoint(any_scope):
        is_out_of_reach = info.type == LIMITED_LOGIN and GRANTABLE.isdisjoint(any_scope)
        return Finding("limited_login" if is_out_of_reach else "insufficient_scope", missing=any_scope)
    return None


def _judge_target(
    info: TokenInfo, requirement: Requirement, path_params: PathParams | None
) -> Finding | None:
    if requirement.target is None:
        return None
    wanted = _target_id(requirement.target, path_params)
    missing = tuple(scope for scope in requirement.scopes if not _covers(info, scope, wanted))
    if missing:
        return Finding("insufficient_target", required=requirement.scopes, missing=missing)
    any_scope = requirement.any_scope
    if any_scope and not any(scope in info.scopes and _covers(info, scope, wanted) for scope in any_scope):
        return Finding("insufficient_target", missing=any_scope)
    return None


def _target_id(target: Target, path_params: PathParams | None) -> str | None:
    if path_params is None:
        raise RuntimeError("a requirement with a target needs the path parameters of the request")
    if not isinstance(target, str):
        wanted: object = target(path_params)
        if wanted is not None and not isinstance(wanted, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuntimeError(f"a target must return a str or None, not {type(wanted).__name__}")
        return wanted
    if target not in path_params:
        raise RuntimeError(f"the route has no path parameter {target!r}, which a target names")
    value = path_params[target]
    return None if value is None else str(value)


def _covers(info: TokenInfo, scope: str, wanted: str | None) -> bool:
    """Tell whether a granted scope reaches one object.

    Listed without ids: every object. Listed with ids: those, an empty list none. Not listed beside
    others that are: none. Nothing listed at all: Graph made no difference between objects.
    """
    if wanted is None:
        return False
    if not info.granular_scopes:
        return True
    if scope not in info.granular_scopes:
        return False
    targets = info.granular_scopes[scope]
    return targets is None or wanted in targets
