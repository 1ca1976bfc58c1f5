"""Text of strangers (names in files, tensors, paths) made fit to be shown: on a terminal, in Markdown."""

from __future__ import annotations

import re

# Control characters (among them ESC, which begins the commands of a terminal, and line ends), characters that turn the
# direction of what follows, the separators of lines and paragraphs, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~#$&]")
_STARTS_A_BLOCK = re.compile(r"^(\s*\d*)(?=[-+=:.)])")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, lines: bool = False) -> str:
    r"""``text`` with what would act on a terminal or page written out, as in ``\x1b`` or ``\n``.

    Args:
        text: anything.
        lines: whether line ends and tabs stay as they are.
    """
    return _UNPRINTABLE.sub(lambda found: _written_out(found[0], lines), text)


def _written_out(character: str, lines: bool) -> str:
    if character in "\n\t" and lines:
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def markdown(text: str) -> str:
    """``text`` as one line of Markdown that shows it and does nothing else: no heading, list, link, HTML or metadata."""
    line = _MARKDOWN.sub(lambda found: _entity(found[0]), printable(text))
    return _STARTS_A_BLOCK.sub(r"\1\\", line)


def _entity(character: str) -> str:
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(character) or f"\\{character}"
