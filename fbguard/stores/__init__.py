"""Stores that several guards, processes or machines share."""

from fbguard.core.errors import StoreUnavailable

__all__ = ["StoreUnavailable"]
