"""Rows O: configuration."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import pytest

from fbguard import Guard
from tests.support import APP_ID, SECRET

WRONG = ["", " ", "\t", "\n", f"{SECRET}\n", f" {SECRET}", f"{SECRET} x", "geheim\x00", "geheimé"]
PLACEHOLDERS = [
    "changeme",
    "CHANGE_ME",
    "your-app-secret",
    "<your app secret>",
    "{app-secret}",
    "xxxxxxxx",
    "0000",
]


@pytest.mark.parametrize("secret", [*WRONG, *PLACEHOLDERS, [], [""], [SECRET, ""], [SECRET, "x y"]], ids=repr)
def test_O01_secret_that_is_none(secret):
    with pytest.raises(ValueError, match="app_secret") as caught:
        Guard(app_id=APP_ID, app_secret=secret)
    assert SECRET not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("secret", [None, 5, b"geheim", [b"geheim"], [None], {SECRET}], ids=repr)
def test_O01_secret_of_another_type(secret):
    with pytest.raises(TypeError, match="app_secret") as caught:
        Guard(app_id=APP_ID, app_secret=secret)
    assert SECRET not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_O01_secret_left_out():
    with pytest.raises(TypeError, match="app_secret"):
        Guard(app_id=APP_ID)


@pytest.mark.parametrize("value", [None, *WRONG[:4], f"{SECRET}\n", f"{SECRET},", "changeme"], ids=repr)
def test_O01_secret_in_the_environment(monkeypatch, value):
    monkeypatch.setenv("FBGUARD_APP_ID", APP_ID)
    monkeypatch.delenv("FBGUARD_APP_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("FBGUARD_APP_SECRET", value)
    with pytest.raises(ValueError, match=r"(?i)app_secret") as caught:
        Guard.from_env()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secret", [SECRET, [SECRET], (SECRET, "an-older-one")])
def test_O01_secrets_that_are_some(secret):
    with Guard(app_id=APP_ID, app_secret=secret) as guard:
        assert guard.app_id == APP_ID
