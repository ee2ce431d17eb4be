"""Nasty requests from a seed: as mean as the strategies of hypothesis, and a hundred times as fast."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from tests.properties.harness import Need
from tests.support import APP_ID, NOW, Reply

SCOPES = ["email", "public_profile", "pages_show_list", "pages_manage_posts"]
LOOK_ALIKES = [
    "EMAIL", "Email", "email ", " email", "email\u200b", "\uff45mail", "email_extended", "emai", "e-mail",
    "pages_show_l\u0131st", "publi\u0161_profile", "", "email,public_profile", "email public_profile",
    "email\x00", "\ud800", "*", "__proto__",
]  # fmt: skip
PAGES = ["111", "222", "0", "111\u200b", "\u0661\u0661\u0661", "1", "all", "null", "Ab-_9"]
TYPES = ["USER", "PAGE", "SYSTEM_USER", "APP"]
ODD_TYPES = ["user", "", "USER ", "TEST_USER", "\uff35SER", 5, True, None, ["USER"], {"USER": 1}, "\ud800"]
APP_IDS = [
    APP_ID, int(APP_ID), "999", 999, APP_ID[:-1], APP_ID + "1", f" {APP_ID}", f"{APP_ID}\n", "", "0", 0,
    "\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff10", f"{APP_ID}.0", "1_234567890", True, None,
    "@raw:1234567890.0@", [APP_ID], {"id": APP_ID}, -int(APP_ID), "\ud800",
]  # fmt: skip
USER_IDS = [
    "1001", 1001, "1", "9" * 32, "9" * 33, "9" * 400, "0", 0, "00", "", "me", "-1", -1, "1 ", " 1", "1\n",
    "1_0",
    "\u0661\u0662", "\xb2", True, False, None, "@raw:1001.0@", ["1001"], {}, "\ud800",
]  # fmt: skip
FLAGS = [True, False, "true", "false", 1, 0, "1", "", [], {}, [True], None, "@raw:1.0@"]
MOMENTS = [
    0, 1, NOW - 86_400, NOW - 60, NOW - 1, NOW, NOW + 1, NOW + 2, NOW + 59, NOW + 60, NOW + 61, NOW + 3600,
    2**31, 2**32, 253_402_300_799, 253_402_300_800, NOW * 1000, (NOW + 3600) * 1000, 2**63, -1, -0.5,
    NOW + 0.5, str(NOW + 3600), True, False, None, [], {}, [NOW + 3600],
    "@raw:NaN@", "@raw:Infinity@", "@raw:-Infinity@", "@raw:1e400@", "@raw:-0@", "@raw:18e8@",
    "@raw:1800003600.0@",
]  # fmt: skip
CODES = [
    190, 102, 1, 2, 4, 9, 10, 17, 32, 100, 101, 104, 110, 200, 250, 299, 300, 326, 341, 368, 412, 450,
    452, 455, 460,
    463, 467, 506, 613, 803, 960, 2500, 1609005, 79999, 80000, 80007, 80014, 80015, 99999, 0, -1, 2**70,
    "190", "4", True, None, [], {}, "@raw:4.0@", "@raw:190.0@",
]  # fmt: skip
SUBCODES = [
    *range(451, 470), 490, 492, 493, 33, 1504022, 2446079, 0, -1, "463", "", True, None, [], "@raw:463.0@",
]  # fmt: skip
MESSAGES = [
    "Error validating access token: Session has expired on Wednesday, 14-Feb-18 18:00:00 PST.",
    "SESSION HAS EXPIRED",
    "Sessions for the user are not allowed because the user is not a confirmed user.",
    "Error validating access token: User 7 has not authorized application 9.",
    "Error validating access token: The session is invalid because the user logged out.",
    "The session has been invalidated because the user has changed the password.",
    "The session does not match current stored session.",
    "The session has been invalidated.",
    "The session was invalidated explicitly using an API call.",
    "Invalid OAuth access token - Cannot parse access token",
    "The access token could not be decrypted",
    "Malformed access token AAAA",
    "The session key in the token is malformed",
    "This is malformed, says the session key",
    "The key is malformed",
    "user logged out; session has expired",
    "(#100) The App_id in the input_token did not match the Viewing App",
    "(#100) the app_id in the input_token DID NOT MATCH THE VIEWING APP",
    "An active access token must be used to query information about the current user.",
    "Invalid OAuth access token signature.",
    'a"b\\c\r\nSet-Cookie: x=1, \U0001f600',
    "", "\ud800", None, 5, ["did not match the Viewing App"], {"session has expired": 1},
]  # fmt: skip
STATUSES = [200] * 120 + [206, 201, 204, 301, 400, 400, 401, 403, 404, 429, 500, 503]
JUNK = [
    b"", b" ", b"null", b"true", b"[]", b"{}", b"5", b'"x"', b"<html>ok</html>", b"\xff\xfe", b"\x00",
    b"\xef\xbb\xbf",
    b'{"data": null}', b'{"data": []}', b'{"data": "x"}', b'{"data": {}}', b'{"error": null}',
    b'{"error": "x"}',
    b"[" * 30_000, b'{"a":' * 12_000, b"{'data': {}}", b'{"data": {}} trailing', b"\xed\xa0\x80", b"OK",
]  # fmt: skip


class Generator:
    """Everything drawn from one seed, so that a failure can be played again."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)

    def _odds(self, chance: float) -> bool:
        return self.rng.random() < chance

    # -- what Graph says

    def reply(self) -> Reply:
        if self._odds(0.03):
            return Reply(self.rng.choice(JUNK), self.rng.choice(STATUSES))
        return Reply(self._spoilt(encode(self.document())), self.rng.choice(STATUSES))

    def document(self) -> dict[str, Any]:
        data = self._facts()
        for _ in range(self.rng.choice([0, 0, 0, 0, 1, 1, 2])):
            self._mutate(data)
        document: dict[str, Any] = {"data": data}
        draw = self.rng.random()
        if draw < 0.22:  # a dead token
            data["is_valid"] = False if self._odds(0.9) else self.rng.choice(FLAGS)
            data["error"] = self._error("subcode")
            if self._odds(0.3):
                for key in self.rng.sample(sorted(data.keys() - {"error", "is_valid"}), 3):
                    del data[key]
        elif draw < 0.27:  # an error beside validity
            data["error"] = self.rng.choice([self._error("subcode"), None, {}, [], "", "x", False])
        elif draw < 0.37:  # about us, or another app's token
            document = {"error": self._error("error_subcode")}
        elif draw < 0.40:
            document["error"] = self.rng.choice([self._error("error_subcode"), None, {}, ""])
        if self._odds(0.05):
            document[self.rng.choice(["paging", "is_valid", "__proto__", "app_id"])] = self.rng.choice(FLAGS)
        return document

    def _facts(self) -> dict[str, Any]:
        rng = self.rng
        scopes = [scope for scope in SCOPES if self._odds(0.75)]
        data: dict[str, Any] = {
            "app_id": APP_ID,
            "type": rng.choices(TYPES, [12, 2, 1, 1])[0],
            "application": "Test App",
            "expires_at": rng.choice([0, NOW + 3600, NOW + 3600, NOW + 61, NOW + 86_400]),
            "is_valid": True,
            "scopes": rng.sample(scopes, len(scopes)),
            "user_id": "1001",
        }
        if self._odds(0.7):
            data["data_access_expires_at"] = rng.choice(
                [0, NOW + 90 * 86_400, NOW + 90 * 86_400, NOW, NOW - 1]
            )
        if self._odds(0.5):
            data["issued_at"] = rng.choice([NOW - 60, NOW - 30, NOW - 61, NOW + 3600, 0])
        if self._odds(0.5):
            data["granular_scopes"] = [self._grant(scope) for scope in SCOPES if self._odds(0.8)]
        return data

    def _grant(self, scope: str) -> dict[str, Any]:
        draw = self.rng.random()
        if draw < 0.25:
            return {"scope": scope}
        pages = self.rng.choices(PAGES[:3] if draw < 0.9 else PAGES, k=self.rng.randrange(5))
        return {"scope": scope, "target_ids": pages}

    def _mutate(self, data: dict[str, Any]) -> None:
        key = self.rng.choice([
            "app_id", "type", "user_id", "is_valid", "expires_at", "expires_at", "data_access_expires_at",
            "issued_at",
            "scopes", "scopes", "granular_scopes", "granular_scopes", "application", "profile_id", "roles",
        ])  # fmt: skip
        if self._odds(0.15):
            data.pop(key, None)
        elif key == "scopes":
            data[key] = self._odd_scopes(data)
        elif key == "granular_scopes":
            data[key] = self._odd_grants(data)
        else:
            moments = {"expires_at": MOMENTS, "data_access_expires_at": MOMENTS, "issued_at": MOMENTS}
            odd = moments | {
                "app_id": APP_IDS, "user_id": USER_IDS, "is_valid": FLAGS, "type": [*TYPES, *ODD_TYPES],
                "application": ["", None, 5, [], "\ud800", "<script>"], "profile_id": ["7", 7, None, [], "x"],
                "roles": [["admin"]],
            }  # fmt: skip
            data[key] = self.rng.choice(odd[key])

    def _odd_scopes(self, data: dict[str, Any]) -> Any:
        scopes = data.get("scopes")
        kept = [scope for scope in scopes if scope != "email"] if isinstance(scopes, list) else []
        return self.rng.choice(
            [
                [*kept, self.rng.choice(LOOK_ALIKES)],
                [*kept, *kept, "email"],
                [*kept, self.rng.choice([1, None, True, ["email"], {"scope": "email"}])],
                self.rng.choice(["email,public_profile", "email", "", {}, {"email": 1}, None, 0, True, 5]),
                [*SCOPES, *(f"scope_{number}" for number in range(300))],
            ]
        )

    def _odd_grants(self, data: dict[str, Any]) -> Any:
        grants = data.get("granular_scopes")
        kept = grants if isinstance(grants, list) else []
        scope = self.rng.choice(SCOPES)
        odd_ids = [
            None,
            "111",
            {},
            111,
            [111, 222],
            [True],
            [None],
            [["111"]],
            ["\ud800"],
            ["111", "111"],
            [],
        ]
        return self.rng.choice(
            [
                [],
                [*kept, {"scope": scope, "target_ids": self.rng.choice(odd_ids)}],
                [{"scope": scope, "target_ids": ["111"]}, {"scope": scope}],
                [*kept, self.rng.choice([None, "email", {}, [], {"target_ids": ["111"]}, {"scope": 5}])],
                [{"scope": look, "target_ids": ["111"]} for look in (scope.upper(), f"{scope} ", "")],
                self.rng.choice([None, {}, {"email": ["111"]}, "email", 0, True]),
            ]
        )

    def _error(self, subcode_key: str) -> dict[str, Any]:
        rng = self.rng
        error: dict[str, Any] = {"code": rng.choices([190, 102, rng.choice(CODES)], [5, 1, 6])[0]}
        error["message"] = rng.choice(MESSAGES)
        if self._odds(0.5):
            error[subcode_key if self._odds(0.95) else "sub"] = rng.choice(SUBCODES)
        if self._odds(0.15):
            error["is_transient"] = rng.choice([True, True, False, "true", 1, None])
        if self._odds(0.1):
            del error[rng.choice(["code", "message"])]
        return error

    def _spoilt(self, body: bytes) -> bytes:
        if self._odds(0.93):
            return body
        cut = self.rng.randrange(1, len(body))
        key, value = self.rng.choice([
            ("is_valid", "false"), ("is_valid", "true"), ("app_id", '"999"'), ("scopes", "[]"),
            ("expires_at", "0"),
        ])  # fmt: skip
        pair = f'"{key}": {value}, '.encode()
        return self.rng.choice(
            [
                body.replace(b'"data": {', b'"data": {' + pair, 1),
                b'{"data": {}, ' + body[1:],
                b"\xef\xbb\xbf" + body,
                body.decode().encode("utf-16"),
                body + self.rng.choice([b" \r\n\t", b"x", b"\x00", b"}", b"\xa0"]),
                body[:cut],
                body[:cut] + bytes([self.rng.randrange(256)]) + body[cut + 1 :],
                body + b" " * (65_536 - len(body)),
                body + b" " * (65_537 - len(body)),
                body[:-1] + b', "x": ' + b"9" * self.rng.choice([18, 4300, 4301, 5000]) + b"}",
                body[:-1] + b', "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
                body[:-1] + b', "x": [[[["\\ud800", 1e400, -0.0]]]]}',
            ]
        )

    # -- what a route asks for, and what a client sends

    def need(self) -> Need:
        rng = self.rng
        data: dict[str, Any] = {}
        if self._odds(0.6):
            data["scopes"] = tuple(rng.sample(SCOPES, rng.choice([1, 1, 2, 3])))
        if self._odds(0.3):
            data["any_scope"] = tuple(rng.sample(SCOPES, rng.choice([1, 2, 3])))
        if data and self._odds(0.5):
            data["target"] = rng.choice(["page_id", named_page, no_page, always_111])
        if self._odds(0.3):
            data["token_types"] = tuple(rng.sample(TYPES, rng.choice([1, 2, 4])))
        if self._odds(0.2):
            data["optional"] = True
        if self._odds(0.25):
            data["min_remaining"] = rng.choice([0, 1, 60, 60.5, 3600, 10**9])
        if self._odds(0.2):
            data["max_login_age"] = rng.choice([0, 30, 60, 60.5, 3600, 10**9])
        return Need(**data)

    def page(self) -> str:
        return self.rng.choice(PAGES[:3] if self._odds(0.8) else PAGES)

    def values(self, token: str) -> list[str]:
        """Return the Authorization headers of a request, mostly the plain one."""
        if self._odds(0.85):
            return [f"Bearer {token}"]
        odd = spellings(token)
        if self._odds(0.25):
            return [self.rng.choice(odd), self.rng.choice(odd)]
        return [self.rng.choice(odd)] if self._odds(0.9) else []


def named_page(params: Any) -> str | None:
    return params.get("page_id")


def no_page(_params: Any) -> str | None:
    return None


def always_111(_params: Any) -> str | None:
    return "111"


def spellings(token: str) -> list[str]:
    """Return ways to write an Authorization header, right and wrong."""
    return [
        f"Bearer {token}", f"bearer {token}", f"BEARER {token}", f" \tBearer {token}\t ", f"Bearer  {token}",
        f"Bearer\t{token}", f"Bearer \t{token}", f"Bearer{token}", f"Bearer:{token}", f"Bearer: {token}",
        "Bearer",
        "Bearer ", "", " ", "\t", f"Basic {token}", f"OAuth {token}", f"Token {token}",
        "Basic dXNlcjpwdw==", token,
        f"Bearer {token},", f"Bearer {token}, Bearer {token}", f"Bearer {token},{token}", "Basic a, b", ",",
        f"Bearer {token}=", f"Bearer {token}==", f"Bearer a={token}", f'Bearer token="{token}"',
        f"Bearer '{token}'",
        f"Bearer {token} x", f"Bearer {token}\n", f"Bearer {token}\x00", f"Bearer {token}\x0b",
        f"Bearer {token}\xa0",
        f"Bearer\xa0{token}", f"Bearer {token}\x85", f"Basic {token}\xe9", f"\xa0Bearer {token}",
        f"Bearer {token}\xb2",
        f"Bearer {token}%26", f"Bearer {token}&x=1", f"Bearer {token}#", f"Bearer {APP_ID}|secret",
        f"Bearer {token}{'A' * (4096 - len(token))}", f"Bearer {token}{'A' * (4097 - len(token))}",
        "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "Bearer eyJ..", "Bearer eyJhbGciOiJSUzI1NiJ9.e30",
        "Bearer aeyJ.b.c",
        f"\xffearer {token}", "B\u0131".encode().decode("latin-1") + f" {token}", f"Bearer {'=' * 3000}",
        "Bearer =",
    ]  # fmt: skip


_RAW = re.compile(r'"@raw:([^"@]*)@"')


def encode(document: Any) -> bytes:
    """Return the JSON of a document; ``"@raw:TEXT@"`` stands for TEXT, which json would not write."""
    return _RAW.sub(r"\1", json.dumps(document)).encode()
