"""Auth.expireSession as clients and servers of 2009 spoke it: ``expire_session`` calls it."""

from fbguard.legacy.client import LegacyError, expire_session

__all__ = ["LegacyError", "expire_session"]
