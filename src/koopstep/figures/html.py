"""The report: one HTML page with everything inside it; opening it asks nothing of any network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koopstep.core.files import make_folder, write_atomic
from koopstep.core.text import printable

_STYLE = """
:root { color-scheme: light; --ink: #1c2330; --soft: #5b6575; --line: #dfe3ea; --paper: #ffffff; --tint: #f5f7fa; }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); background: var(--tint);
  margin: 0 }
main { max-width: 1020px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem } h2 { font-size: 1.35rem; margin: 0 0 .2rem }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .3rem } p { margin: .3rem 0 .8rem } .soft { color: var(--soft) }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1.5rem 1.6rem;
  margin-top: 1.5rem }
img { max-width: 100%; height: auto; display: block; margin: .4rem 0 } figure { margin: 0 }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0 } .fact { background: var(--tint); border: 1px solid
  var(--line); border-radius: 8px; padding: .5rem .8rem; min-width: 8.5rem } .fact b { display: block; font-size: 1.25rem }
.fact span { color: var(--soft); font-size: .84rem }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums } th, td { text-align: right;
  padding: .32rem .9rem; border-bottom: 1px solid var(--line) } th:first-child, td:first-child { text-align: left }
th { font-weight: 600; color: var(--soft); font-size: .86rem } td small { color: var(--soft) }
details { margin-top: 1rem } summary { cursor: pointer; color: var(--soft) }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 8px; padding: .8rem; overflow-x: auto;
  font-size: .82rem; line-height: 1.4 } code { font-size: .9em }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG on disk with its heading and what to see in it."""

    path: Path
    title: str
    caption: str


@dataclass(frozen=True)
class Chapter:
    """One run in the report.

    Attributes:
        title: heading.
        lead: a sentence or two below it.
        facts: (value, label), the few numbers one sees first.
        rows: metric rows (name, what it measures, student, teacher or None).
        pictures: in order.
        details: heading -> preformatted text, folded away.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, str, float, float | None]]
    pictures: Sequence[Picture]
    details: dict[str, str]


def write_report(path: Path, title: str, lead: str, chapters: Sequence[Chapter]) -> Path:
    """Write the page to ``path``; pictures are embedded."""
    body = "".join(_chapter(chapter) for chapter in chapters)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escaped(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{_escaped(title)}</h1><p class="soft">{_escaped(lead)}</p>{body}</main></body></html>\n'
    )
    make_folder(path.parent)
    write_atomic(path, page.encode())
    return path


def number(value: float | None) -> str:
    """A number as people read it."""
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{value:.2e}"


def _chapter(chapter: Chapter) -> str:
    facts = "".join(
        f'<div class="fact"><b>{_escaped(value)}</b><span>{_escaped(label)}</span></div>'
        for value, label in chapter.facts
    )
    parts = [
        f"<section><h2>{_escaped(chapter.title)}</h2><p>{_escaped(chapter.lead)}</p>",
        f'<div class="facts">{facts}</div>',
        _table(chapter.rows),
        *(_picture(picture) for picture in chapter.pictures),
        *(
            f"<details><summary>{_escaped(name)}</summary><pre>{_escaped(text)}</pre></details>"
            for name, text in chapter.details.items()
        ),
        "</section>",
    ]
    return "".join(parts)


def _table(rows: Sequence[tuple[str, str, float, float | None]]) -> str:
    lines = "".join(
        f"<tr><td><code>{_escaped(name)}</code><br><small>{_escaped(measures)}</small></td>"
        f"<td>{number(student)}</td><td>{number(teacher)}</td></tr>"
        for name, measures, student, teacher in rows
    )
    return f"<table><tr><th>metric</th><th>student, 1 step</th><th>teacher</th></tr>{lines}</table>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    return (
        f"<h3>{_escaped(picture.title)}</h3><p class='soft'>{_escaped(picture.caption)}</p>"
        f'<figure><img alt="{_escaped(picture.title)}" src="data:image/png;base64,{data}"></figure>'
    )


def seconds_text(seconds: dict[str, Any]) -> str:
    """Stage -> seconds as aligned lines."""
    return "\n".join(f"{name:<12} {value:8.1f} s" for name, value in seconds.items())


def _escaped(text: str) -> str:
    """Text for HTML; names of strangers' files may be in it."""
    return html.escape(printable(text, lines=True))
