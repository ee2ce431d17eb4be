"""Limited Login: what its tokens are called here, and what they can show. Pure.

An iOS app without tracking consent gets an OpenID Connect ID token instead of an access token
(Facebook Login, "Limited Login"). It is verified by its signature; Graph takes it for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: :attr:`fbguard.TokenInfo.type` of such a token; debug_token has no word for it.
LIMITED_LOGIN: Final = "LIMITED_LOGIN"

#: Claim -> the permission that it shows to be granted: Facebook puts it in only then.
PERMISSION_OF_CLAIM: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys(("name", "given_name", "middle_name", "family_name", "picture"), "public_profile"),
    **{
        name: name
        for name in (
            "email", "user_friends", "user_birthday", "user_age_range", "user_hometown", "user_location",
            "user_gender", "user_link",
        )
    },
})  # fmt: skip

#: The permissions that Limited Login can grant.
GRANTABLE: Final = frozenset(PERMISSION_OF_CLAIM.values())
