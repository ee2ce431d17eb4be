"""The person's language."""

import pytest

from fbguard.core.messages import CATALOGUES, DEFAULT_LANGUAGE, choose, message
from fbguard.core.reasons import REASONS


@pytest.mark.parametrize("language", CATALOGUES)
def test_no_catalogue_misses_a_message_or_has_one_too_many(language):
    assert CATALOGUES[language].keys() == REASONS.keys()


@pytest.mark.parametrize("language", CATALOGUES)
@pytest.mark.parametrize("reason", REASONS)
def test_messages_are_sentences(language, reason):
    text = message(reason, language)
    assert text[0].isupper()
    assert text.endswith(".")
    assert text == text.strip()


@pytest.mark.parametrize("language", [language for language in CATALOGUES if language != DEFAULT_LANGUAGE])
@pytest.mark.parametrize("reason", REASONS)
def test_messages_are_translated(language, reason):
    assert message(reason, language) != message(reason, DEFAULT_LANGUAGE)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("id", "id"),
        ("ID", "id"),
        ("id-ID", "id"),
        ("id-ID,id;q=0.9,en-US;q=0.8,en;q=0.7", "id"),
        ("en-US,en;q=0.9,id;q=0.8", "en"),
        ("en;q=0.5, id;q=0.6", "id"),
        ("id, en", "id"),
        ("en, id", "en"),
        ("de, fr;q=0.9", "en"),
        ("de, id;q=0.1", "id"),
        ("zh-Hant-TW, id-Latn-ID-x-private;q=0.5", "id"),
        ("id;q=0", "en"),
        ("id;q=0.000, de", "en"),
        ("*", "en"),
        ("*, id;q=0.5", "id"),
        (" id ; q=0.5 ", "id"),
        ("id;Q=1", "id"),
        ("id;q=2, en;q=0.1", "en"),
        ("id;q=nan", "en"),
        ("id;q=0.1234", "en"),
        ("id;level=1", "en"),
        ("i", "en"),
        ("idx", "en"),
        ("id_ID", "en"),
        (",,,id,,", "id"),
        ("\x00, id\r\n", "id"),
        ("ïd", "en"),
        ("id" + "-a" * 400, "id"),
    ],
)
def test_accept_language(header, language):
    assert choose(header) == language


@pytest.mark.parametrize("element", ["-", "a-", ";q=1,", " ", "*,", "a;q=0.1,"])
def test_a_long_header_is_cut(element):
    assert choose(element * 100_000 + ",id") == "en"
