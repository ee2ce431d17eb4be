"""Fixtures of the rows about a shared store."""

from tests.threats.workers import calm, fleet

__all__ = ["calm", "fleet"]
