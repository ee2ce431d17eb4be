"""What Graph said, as an exception that code of the application may raise, too."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from fbguard import OAuthException

EVERYTHING = {
    "type": "GraphMethodException",
    "code": 190,
    "subcode": 463,
    "user_title": "Session expired",
    "user_message": "Please log in again.",
    "error_data": {"blame_field_specs": [["access_token"]]},
    "is_transient": False,
    "fbtrace_id": "AbCdEf",
    "retry_after": 60,
    "token_fingerprint": "0123456789ab",
}
EXPIRED = "Ihre Sitzung ist abgelaufen"  # no word of the table of messages


def state(error: OAuthException) -> dict[str, object]:
    return {name: getattr(error, name) for name in ("message", *EVERYTHING)}


def test_a_message_is_enough():
    assert state(OAuthException("Something.")) == {
        "message": "Something.",
        "type": "OAuthException",
        "code": None,
        "subcode": None,
        "user_title": None,
        "user_message": None,
        "error_data": None,
        "is_transient": False,
        "fbtrace_id": None,
        "retry_after": None,
        "token_fingerprint": None,
    }


def test_every_argument_is_an_attribute():
    assert state(OAuthException("Something.", **EVERYTHING)) == {"message": "Something.", **EVERYTHING}


def test_only_the_message_goes_by_position():
    with pytest.raises(TypeError):
        OAuthException("Something.", "OAuthException")  # type: ignore[misc]
    kinds = {name: one.kind for name, one in inspect.signature(OAuthException.__init__).parameters.items()}
    assert {name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY} == set(EVERYTHING)


@pytest.mark.parametrize("number", ["190", 190.0, True, b"190", [190]], ids=repr)
@pytest.mark.parametrize("name", ["code", "subcode"])
def test_a_code_that_is_no_int_is_a_mistake(name, number):
    """It would be no known code, and a dead token would count as alive."""
    with pytest.raises(TypeError, match="code and subcode"):
        OAuthException("Something.", **{name: number})


def test_the_digest_of_a_token_is_kept_and_not_shown():
    error = OAuthException("Something.")
    assert error.token_key is None
    error.token_key = b"digest-of-a-token"
    for again in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert again.token_key == b"digest-of-a-token"
        assert "digest" not in f"{again!r}{again}"


def test_it_is_no_refusal_and_no_error_of_the_network():
    assert OAuthException.__mro__[1] is Exception


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OAuthException("Some words.", code=190, subcode=463), "OAuthException 190/463: Some words."),
        (OAuthException("Some words.", code=190), "OAuthException 190: Some words."),
        (OAuthException("Some words.", subcode=463), "OAuthException 463: Some words."),
        (OAuthException("Some words."), "OAuthException: Some words."),
        (OAuthException("Some words.", code=0), "OAuthException 0: Some words."),
        (
            OAuthException("Some words.", type="GraphMethodException", code=100),
            "GraphMethodException 100: Some words.",
        ),
        (OAuthException("Some words.", type="", code=5), "Graph error 5: Some words."),
        (OAuthException("", type=""), "Graph error: "),
    ],
)
def test_its_text(error, text):
    assert str(error) == text


def test_its_arguments_are_the_message_alone():
    error = OAuthException("Something.", **EVERYTHING)
    assert error.args == ("Something.",)
    assert repr(error) == "OAuthException('Something.')"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(protocol):
    error = OAuthException("Something.", **EVERYTHING)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is OAuthException
    assert state(again) == state(error)
    assert (str(again), again.args, again.reason) == (str(error), error.args, "expired")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_keep_everything(copied):
    error = OAuthException("Something.", **EVERYTHING)
    again = copied(error)
    assert again is not error
    assert state(again) == state(error)
    assert (str(again), again.reason, again.category) == (str(error), "expired", "login_recoverable")


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (OAuthException(EXPIRED, code=190), "login_recoverable"),
        (OAuthException(EXPIRED, code=102, subcode=458), "login_recoverable"),
        (OAuthException(EXPIRED, code=412), "login_recoverable"),
        (OAuthException(EXPIRED, code=4), "transient"),
        (OAuthException(EXPIRED, code=2), "transient"),
        (OAuthException(EXPIRED, code=190, is_transient=True), "transient"),
        (OAuthException(EXPIRED, code=99999, is_transient=True), "transient"),
        (OAuthException(EXPIRED, code=368), "other"),
        (OAuthException(EXPIRED, code=368, is_transient=True), "transient"),
        (OAuthException(EXPIRED, code=10), "other"),
        (OAuthException(EXPIRED, code=200), "other"),
        (OAuthException(EXPIRED, code=100), "other"),
        (OAuthException("did not match the Viewing App", code=100), "other"),
        (OAuthException(EXPIRED, code=99999), "other"),
        (OAuthException(EXPIRED), "other"),
    ],
    ids=str,
)
def test_what_helps(error, category):
    assert error.category == category


@pytest.mark.parametrize(
    ("error", "english", "indonesian"),
    [
        (
            OAuthException(EXPIRED, code=190, subcode=463),
            "Your Facebook session has expired. Please log in again.",
            "Sesi Facebook Anda telah berakhir. Silakan masuk lagi.",
        ),
        (
            OAuthException(EXPIRED, code=190, subcode=459),
            "Facebook needs you to check your account. Visit facebook.com, then log in again.",
            "Facebook meminta Anda memeriksa akun. Kunjungi facebook.com, lalu masuk lagi.",
        ),
        (
            OAuthException(EXPIRED, code=200),
            "This needs a permission that you have not given. Please allow it on Facebook.",
            "Ini memerlukan izin yang belum Anda berikan. Silakan izinkan di Facebook.",
        ),
        (
            OAuthException(EXPIRED, code=4),
            "Facebook is busy. Please try again in a while.",
            "Facebook sedang sibuk. Silakan coba lagi nanti.",
        ),
    ],
    ids=str,
)
def test_what_the_person_can_do_in_two_languages(error, english, indonesian):
    assert error.recovery_message() == english
    assert error.recovery_message("en-GB") == english
    assert error.recovery_message("id-ID,id;q=0.9,en;q=0.5") == indonesian
    assert error.recovery_message("xx, ;;;") == english


def test_nothing_that_the_person_can_do_about_a_mistake_of_the_application():
    assert OAuthException("Unsupported get request.", code=100).recovery_message("id") is None


def test_the_reason_follows_the_numbers():
    """Nothing is remembered: who changes a number changes the reason."""
    error = OAuthException(EXPIRED, code=190, subcode=463)
    assert error.reason == "expired"
    error.is_transient = True
    assert error.reason == "unavailable"


def test_a_store_that_is_away_says_what_that_means():
    from fbguard.stores import StoreUnavailable

    assert str(StoreUnavailable()) == "the store is away: this took effect in this process only"
    assert str(StoreUnavailable("in words of its own")) == "in words of its own"
