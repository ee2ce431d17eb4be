"""What a person who asked for their data to be deleted gets: a code, and a page that knows it. Pure.

The code is its own record: the moment of the request, a nonce made of the user, and a MAC over both. No
store is needed to tell a genuine code from an invented one, and nobody can read the user out of it.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fbguard.core.answers import Answer
from fbguard.core.html import PAGE_HEADERS, document
from fbguard.core.secret import Secret

# 5 + 10 + 15 bytes are 48 letters and digits of base32, without padding.
_SECONDS: Final = 5
_NONCE: Final = 10
_PROOF: Final = 15
_CODE: Final = re.compile(r"[A-Z2-7]{48}", re.ASCII)


def code_for(secret: Secret, user_id: str, at: int) -> str:
    """Return the confirmation code of a request; ``at`` is its moment in Unix seconds.

    The same request has the same code, so that one that Facebook sends again is the same to the app.
    """
    moment = at.to_bytes(_SECONDS)
    head = moment + _mac(secret, b"user", moment + user_id.encode())[:_NONCE]
    return base64.b32encode(head + _mac(secret, b"code", head)[:_PROOF]).decode()


def moment_of(secrets: Sequence[Secret], code: str) -> datetime | None:
    """Return when the data of a genuine code were asked to be deleted, in UTC; None if it is invented."""
    if not _CODE.fullmatch(code):
        return None
    decoded = base64.b32decode(code)
    head, proof = decoded[:-_PROOF], decoded[-_PROOF:]
    known = [hmac.compare_digest(_mac(secret, b"code", head)[:_PROOF], proof) for secret in secrets]
    return datetime.fromtimestamp(int.from_bytes(head[:_SECONDS]), UTC) if any(known) else None


def _mac(secret: Secret, purpose: bytes, message: bytes) -> bytes:
    # The app secret signs other things, too: none of them begins like this.
    return hmac.digest(secret.reveal().encode(), b"fbguard deletion " + purpose + b"\0" + message, "sha256")


def page(code: str, moment: datetime | None) -> Answer:
    """Return the status page of a code; ``moment`` is None if there is no such request."""
    if moment is None:
        title = "No such request"
        text = "<p>This address belongs to no data deletion request. Check the confirmation code.</p>"
    else:
        title = "Data deletion request received"
        day = f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d, %H:%M} UTC</time>'
        text = (
            f"<p>Your request to delete your data arrived on {day}. "
            "Logins with Facebook from before are no longer accepted.</p>"
            f"<p>Confirmation code: <code>{code}</code></p>"
        )
    return Answer(404 if moment is None else 200, list(PAGE_HEADERS), document(title, text, "en"))
