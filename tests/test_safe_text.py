"""Sanitized text: shown as it is, and no character of it acts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.safe_text import sanitize


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [b]text[/b]", "plain [b]text[/b]"),
        ("\x1b[31mred", "␛[31mred"),
        ("a\x00\x07\x7f", "a␀␇␡"),
        ("\x9b31m", "�31m"),
        ("one\r\ntwo\rthree", "one\ntwothree"),
        ("\tx", "    x"),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("\u202eabc\u202c", "�abc�"),
        ("\u200fשלום", "שלום"),
        ("hid\U000e0041den", "hid�den"),
        ("\ud800", "�"),
        ("\N{WOMAN}\u200d\N{PERSONAL COMPUTER}", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}"),
        ("e\u0301 \u2764\ufe0f", "e\u0301 \u2764\ufe0f"),
    ],
)
def test_inert_text(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@given(st.text())
def test_inert_text_is_stable_and_safe(text: str) -> None:
    shown = sanitize(text)
    assert sanitize(shown) == shown
    assert all(character == "\n" or not _acts(character) for character in shown)
    shown.encode("utf-8")


def _acts(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
