"""The sentences for the person, by language.

The look-up by Accept-Language is our own: the parsers on PyPI (acceptlang, httpcneg) rank ranges without
the shortening of RFC 4647, and frameworks' own parsers would bring the framework along.
"""

from __future__ import annotations

import re
from typing import Final

from fbguard.core.languages import en
from fbguard.core.languages import id as indonesian

DEFAULT_LANGUAGE: Final = "en"
CATALOGUES: Final = {"en": en.MESSAGES, "id": indonesian.MESSAGES}
LABELS: Final = {"en": en.LABELS, "id": indonesian.LABELS}

# One element of Accept-Language: a language range and its weight (RFC 9110 sections 12.4.2, 12.5.4).
_RANGE: Final = re.compile(
    r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)\s*(?:;\s*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?\s*"
)
_MAX_HEADER: Final = 1000  # characters that are read; browsers send fewer than a hundred


def choose(accept_language: str | None) -> str:
    """Return the tag of the catalogue that fits an Accept-Language header best.

    Lookup by RFC 4647 section 3.4: the preferred range whose tag, shortened from the end, has a
    catalogue. Elements that do not parse are passed over; English is what is left.
    """
    ranges = [_RANGE.fullmatch(element) for element in (accept_language or "")[:_MAX_HEADER].split(",")]
    weighted = [(float(found[2] or 1), found[1].lower()) for found in ranges if found]
    # Stable: of equal weights the first one named comes first.
    for weight, tag in sorted(weighted, key=lambda pair: -pair[0]):
        while tag and weight > 0:
            if tag in CATALOGUES:
                return tag
            tag = tag.rpartition("-")[0]  # noqa: PLW2901 - shortened on purpose
    return DEFAULT_LANGUAGE


def message(reason: str, language: str) -> str:
    """Return what is said to the person about ``reason`` in the catalogue ``language``."""
    return CATALOGUES[language][reason]


def labels(language: str) -> dict[str, str]:
    """Return what stands on a page beside that: on its button, by the action of the hint, and below."""
    return LABELS[language]
