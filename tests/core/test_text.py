"""Names in strangers' files neither move a terminal's cursor nor write Markdown, HTML or metadata."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopstep.core.text import markdown, printable

OSC = "\x1b]0;owned\x07\x1b[2Ja\r\nb\x9b31m\u202etxt.exe\ud800"


def test_what_acts_is_written_out() -> None:
    assert printable(OSC) == "\\x1b]0;owned\\x07\\x1b[2Ja\\r\\nb\\x9b31m\\u202etxt.exe\\ud800"
    assert printable("a\tb\nc", lines=True) == "a\tb\nc"


@pytest.mark.parametrize("text", ["", "digits-edm", "Ä 木 🙂 e\u0301 👩\u200d💻", "a/b c.safetensors (1) [2] {3}"])
def test_plain_text_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() or all(not re.match(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", letter) for letter in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("---\nlicense: mit\n---\n# Mine", "\\---\\\\nlicense: mit\\\\n---\\\\n\\# Mine"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[click](http://a)", "\\[click\\](http://a)"),
        ("`a` *b* _c_", "\\`a\\` \\*b\\* \\_c\\_"),
        ("1. first", "1\\. first"),
        ("digits-edm of 8 x 8", "digits-edm of 8 x 8"),
    ],
)
def test_markdown_shows_it_and_does_nothing(text: str, wanted: str) -> None:
    assert markdown(text) == wanted


@given(st.text())
def test_markdown_holds_no_tag(text: str) -> None:
    line = markdown(text)
    assert "<" not in line and "\n" not in line
    assert unescape(re.sub(r"\\([\\`*_\[\]|~#$:+=-])", r"\1", line)).count("<") == text.count("<")
