"""``/dialog/oauth``: the page where a person logs in and grants or declines, and where it leads.

Facebook Login, manual flow. GET shows the page, POST is what its buttons do. What is wrong with the
request itself is told on a page, and nobody is sent anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape, unescape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from fbguard.core.html import FORM_PAGE_HEADERS, document
from fbguard.sandbox import errors, tokens
from fbguard.sandbox.wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fbguard.sandbox.wire import Outcome
    from fbguard.sandbox.world import World

PATH = "/dialog/oauth"
ALLOW = "allow:"  # before a permission: the name of its box on the page

_ALWAYS = "public_profile"  # comes with every login and cannot be declined
_SOMEBODY = "1000000000000001"
_FOUND = 302
_DIGITS = re.compile(r"[0-9]{1,32}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
_RESPONSE_TYPES = frozenset({"code", "token", "granted_scopes"})
_ASKED_ANEW = {
    "rerequest": "The app asks again for what was declined.",
    "reauthorize": "The app's access to the person's data has run out, and it asks for it again.",
    "reauthenticate": "The app asks the person to enter the password again.",
}
# Facebook's words (manual flow, "Canceled Login").
_CANCELED = {
    "error_reason": "user_denied",
    "error": "access_denied",
    "error_description": "Permissions error.",
}


class DialogError(Exception):
    """Why there is no dialog; the text is for whoever builds the app."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the app asks for; ``state`` is None if it sent none."""

    redirect_uri: str
    response_types: frozenset[str]
    scopes: tuple[str, ...]
    auth_types: tuple[str, ...]
    returns_scopes: bool
    state: str | None

    @classmethod
    def of(cls, query: Mapping[str, str], app_id: str) -> Asked:
        """Read the address of the dialog; raises DialogError."""
        if query.get("client_id") != app_id:
            raise DialogError(f"client_id must be {app_id}, the id of this sandbox's app")
        types = frozenset(re.split(r"[ ,]+", query.get("response_type") or "code"))
        if not types <= _RESPONSE_TYPES:
            raise DialogError(f"response_type may be made of {', '.join(sorted(_RESPONSE_TYPES))} here")
        names = [name for name in re.split(r"[ ,]+", query.get("scope", "")) if name]
        if not all(map(_SCOPE.fullmatch, names)):
            raise DialogError("scope must be names of permissions, separated by commas or spaces")
        auth_types = tuple(filter(None, query.get("auth_type", "").split(",")))
        if not set(auth_types) <= _ASKED_ANEW.keys():
            raise DialogError(f"auth_type may be made of {', '.join(_ASKED_ANEW)}")
        return cls(
            _checked(query.get("redirect_uri", ""), app_id),
            types,
            tuple(dict.fromkeys((_ALWAYS, *names))),
            auth_types,
            query.get("return_scopes") == "true",
            query.get("state"),
        )


def dialog(world: World, request: Request, now: float) -> Reply:
    """Show the page, or do what was decided on it."""
    try:
        asked = Asked.of(request.query, world.app.app_id)
        if request.method == "POST":
            return _decided(world, asked, request.form(), now)
        return _page(world, asked)
    except DialogError as error:
        text = f"<p>{escape(str(error))}.</p>"
        return Reply(400, FORM_PAGE_HEADERS, document("This login cannot be done", text, "en"))


def _checked(redirect_uri: str, app_id: str) -> str:
    """Return an address that a browser may be sent to: of a web page, or of the app on a phone."""
    try:
        parts = urlsplit(redirect_uri)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_web = False
    is_phone = redirect_uri.startswith(f"fb{app_id}://")
    if not (is_web or is_phone) or "#" in redirect_uri or not re.fullmatch(r"[\x21-\x7e]+", redirect_uri):
        raise DialogError(f"redirect_uri must be http(s)://... or fb{app_id}://..., without a fragment")
    return redirect_uri


def _page(world: World, asked: Asked) -> Reply:
    boxes = "".join(
        f'<p><label><input type="checkbox" name="{ALLOW}{escape(name)}" checked'
        f"{' disabled' * (name == _ALWAYS)}> {escape(name)}</label></p>"
        for name in asked.scopes
    )
    notes = "".join(f"<p>{_ASKED_ANEW[one]}</p>" for one in asked.auth_types)
    content = (
        f"<p><strong>{escape(world.app.name)}</strong> asks a person to log in. This is a sandbox: "
        f'anybody may be anybody.</p>{notes}<form method="post">'
        '<p><label>Log in as user <input name="user_id" inputmode="numeric" pattern="[0-9]{1,32}" required '
        f'value="{_SOMEBODY}"></label></p><fieldset><legend>The app gets</legend>{boxes}</fieldset>'
        "<p>What a person has granted or declined before stays so; declined permissions are asked for again "
        "with <code>auth_type=rerequest</code> only.</p>"
        '<p><button class="button" name="decision" value="continue">Continue</button> '
        '<button class="button plain" name="decision" value="cancel" formnovalidate>Cancel</button></p>'
        "</form>"
    )
    return Reply(200, FORM_PAGE_HEADERS, document("Log in with Facebook", content, "en"))


def _decided(world: World, asked: Asked, form: Mapping[str, str], now: float) -> Reply:
    if form.get("decision") != "continue":
        return _sent(asked, query=_CANCELED)
    user_id = form.get("user_id", "")
    if not _DIGITS.fullmatch(user_id) or not user_id.strip("0"):
        raise DialogError("a user is one to 32 digits, and not 0")
    held = world.held(user_id)
    if held is not None:
        raise DialogError(errors.session_ended(held, user_id, world.app.app_id).rstrip("."))
    allowed = tuple(name for name in asked.scopes if name == _ALWAYS or f"{ALLOW}{name}" in form)
    declined = tuple(name for name in asked.scopes if name not in allowed)
    granted = world.answer(user_id, allowed, declined, anew="rerequest" in asked.auth_types)

    said: dict[str, str] = {}
    if "token" in asked.response_types:
        said["access_token"] = tokens.issue(world, user_id, granted, now)
        said["data_access_expiration_time"] = str(int(now) + tokens.DATA_ACCESS)
        said["expires_in"] = str(tokens.SHORT_LIVED)
    if "code" in asked.response_types or not said:
        said["code"] = world.logins.add(user_id, granted, asked.redirect_uri, now)
    if "granted_scopes" in asked.response_types or asked.returns_scopes:
        said["granted_scopes"] = ",".join(granted)
        said["denied_scopes"] = ",".join(name for name in asked.scopes if name not in granted)
    if "token" in asked.response_types:
        return _sent(asked, fragment=said)
    return _sent(asked, query=said)


def _sent(
    asked: Asked, *, query: Mapping[str, str] | None = None, fragment: Mapping[str, str] | None = None
) -> Reply:
    """Send the browser back to the app, with the ``state`` that it came with."""
    state = {} if asked.state is None else {"state": asked.state}
    address = asked.redirect_uri
    if query is not None:
        address += ("&" if "?" in address else "?") + urlencode({**query, **state})
    if fragment is not None:
        address += "#" + urlencode({**fragment, **state})
    return Reply(_FOUND, (("Location", address), ("Cache-Control", "no-store")))


def answered(
    handle: Callable[[Request], Outcome], url: str, user_id: str | None, declined: Sequence[str]
) -> str:
    """Do on the page at ``url`` what a person does; None cancels. Returns where the browser is sent."""
    parts = urlsplit(url)
    form = {"decision": "cancel"}
    if user_id is not None:
        names = re.split(r"[ ,]+", dict(parse_qsl(parts.query)).get("scope", ""))
        allowed = {f"{ALLOW}{name}": "on" for name in names if name not in declined}
        form = {"decision": "continue", "user_id": user_id, **allowed}
    kind = [("Content-Type", "application/x-www-form-urlencoded")]
    reply = handle(Request.of("POST", f"{parts.path}?{parts.query}", kind, urlencode(form).encode())).reply
    if reply is None or reply.status != _FOUND:
        found = None if reply is None else re.search(rb"<p>(.*?)</p>", reply.body)
        raise ValueError(f"url: {unescape(found[1].decode()) if found else 'no login dialog'}")
    return dict(reply.headers)["Location"]
