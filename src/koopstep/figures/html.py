"""The report: one HTML page with everything inside it; opening it asks nothing of any network."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from koopstep.analysis.words import short
from koopstep.core.files import make_folder, write_atomic
from koopstep.core.text import printable
from koopstep.evaluation.protocol import software_versions
from koopstep.figures.html_links import ImageLinks, PointLinks, links_html
from koopstep.figures.html_pictures import Embedded, embedded

MARK = b'<meta name="generator" content="koopstep'
"""By which a page of ours is known."""
MOST_BYTES = 2_900_000
_WIDTHS = (1600, 1100, 800, 560)  # of pictures, until the page is small enough
_DENSITY = 1.5  # pixels of a picture for one of the page, so that it is sharp on finer screens, too
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_DIRECTIONS = {"lower": ("↓", " lower"), "higher": ("↑", " higher"), "control": ("–", " control")}


@dataclass(frozen=True)
class Picture:
    """A picture on disk with its words.

    Attributes:
        path: PNG or GIF.
        title: heading; also what is said to whom cannot see it.
        finding: what was found, one sentence, with its numbers.
        text: how to read it.
    """

    path: Path
    title: str
    finding: str
    text: str = ""


@dataclass(frozen=True)
class Part:
    """Pictures that belong together.

    Attributes:
        title: heading.
        lead: what they say together.
        pictures: in order.
    """

    title: str
    lead: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Fact:
    """One of the few numbers that one sees first: the value, what it is, and under what circumstances."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A metric: what it measures, which way is better, and its values; None where one was not measured."""

    name: str
    measures: str
    direction: str
    student: float | None
    teacher: float | None


@dataclass(frozen=True)
class Chapter:
    """One run in the report.

    Attributes:
        title: heading.
        lead: a sentence or two below it.
        facts: the few numbers one sees first.
        notes: what is missing and why, in plain sentences.
        links: noise beside what becomes of it; None where nothing can be shown.
        rows: metrics.
        measured: on what they were measured, one sentence.
        parts: figures.
        seconds: stage -> what it took.
        commands: that make this page again.
        details: heading -> preformatted text, folded away.
    """

    title: str
    lead: str
    facts: Sequence[Fact]
    notes: Sequence[str]
    links: PointLinks | ImageLinks | None
    rows: Sequence[Row]
    measured: str
    parts: Sequence[Part]
    seconds: Mapping[str, float] = field(default_factory=dict)
    commands: Sequence[str] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def pictures(self) -> list[Picture]:
        """Of all parts, in order."""
        return [picture for part in self.parts for picture in part.pictures]


def write_report(path: Path, title: str, lead: str, chapters: Sequence[Chapter]) -> Path:
    """Write the page to ``path``, everything embedded; pictures are made smaller where there are many."""
    page = b""
    for width in _WIDTHS:
        page = _page(title, lead, chapters, width).encode()
        if len(page) <= MOST_BYTES:
            break
    make_folder(path.parent)
    write_atomic(path, page)
    return path


def number(value: float | None) -> str:
    """A number as people read it; a dash where there is none."""
    return "–" if value is None else short(value)


def _page(title: str, lead: str, chapters: Sequence[Chapter], width: int) -> str:
    room = resources.files("koopstep.figures")
    style, script = ((room / name).read_text(encoding="utf-8") for name in ("html.css", "html.js"))
    version = software_versions().get("koopstep", "")
    named = [(f"run{place}", chapter) for place, chapter in enumerate(chapters, 1)]
    body = "".join(_chapter(name, chapter, width, len(named) > 1) for name, chapter in named)
    contents = _contents("Runs", [(name, chapter.title) for name, chapter in named])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{MARK.decode()} {escaped(version)}"><link rel="icon" href="data:,">'
        f"<title>{escaped(title)}</title><style>\n{style}</style></head><body><main><header>"
        f'<h1>{escaped(title)}</h1><p class="lead">{escaped(lead)}</p></header>{contents}{body}'
        f"<footer>Made by koopstep {escaped(version)} from the files of the run. This page holds everything it shows and "
        f"asks nothing of any network.</footer></main><script>\n{script}</script></body></html>\n"
    )


def _contents(label: str, entries: Sequence[tuple[str, str]]) -> str:
    """Links to places of the page, where there are several."""
    links = "".join(f'<a href="#{place}">{escaped(head)}</a>' for place, head in entries)
    return f'<nav aria-label="{label}">{links}</nav>' if len(entries) > 1 else ""


def _chapter(name: str, chapter: Chapter, width: int, headed: bool) -> str:
    head = f'<h2 id="{name}-title">{escaped(chapter.title)}</h2>' if headed else ""
    labelled = f'aria-labelledby="{name}-title"' if headed else 'aria-label="The run"'
    ids = (f"{name}-{place}" for place in itertools.count(1))
    parts = [(next(ids), part) for part in chapter.parts if part.pictures]
    return "".join(
        [
            f'<section id="{name}" {labelled}>{head}<p>{escaped(chapter.lead)}</p>',
            *(f'<p class="note">{escaped(note)}</p>' for note in chapter.notes),
            _facts(chapter.facts),
            links_html(chapter.links) if chapter.links else "",
            _contents("Figures", [(place, part.title) for place, part in parts]),
            _table(chapter.rows, chapter.measured),
            *(_part(place, part, width) for place, part in parts),
            *_making(chapter),
            "</section>",
        ]
    )


def _facts(facts: Sequence[Fact]) -> str:
    cards = "".join(
        f"<div><dt>{escaped(fact.label)}{f'<small>{escaped(fact.note)}</small>' if fact.note else ''}</dt>"
        f"<dd>{escaped(fact.value)}</dd></div>"
        for fact in facts
    )
    return f'<dl class="facts">{cards}</dl>' if cards else ""


def _table(rows: Sequence[Row], measured: str) -> str:
    if not rows:
        return ""
    ways = [_DIRECTIONS.get(row.direction, ("", row.direction)) for row in rows]
    lines = "".join(
        f'<tr><th scope="row"><code>{escaped(row.name)}</code><small>{escaped(row.measures)}</small></th>'
        f'<td class="better">{arrow}<span>{escaped(word)}</span></td>'
        f"<td>{number(row.student)}</td><td>{number(row.teacher)}</td></tr>"
        for row, (arrow, word) in zip(rows, ways, strict=True)
    )
    heads = '<th scope="col">metric</th><th scope="col" class="better"><span>better</span></th>'
    heads += '<th scope="col">student</th><th scope="col">teacher</th>'
    return (
        f"<h3>How good the student is</h3><p>{escaped(measured)}</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Metrics of student and teacher">'
        f'<table class="metrics"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _part(name: str, part: Part, width: int) -> str:
    """The first picture, and the others folded away below it."""
    said = any(picture.finding.rstrip(".") in part.lead for picture in part.pictures)
    lead = f"<p>{escaped(part.lead)}</p>" if part.lead and not said else ""
    first, *others = (_figure(picture, width) for picture in part.pictures)
    heads = "; ".join(picture.title for picture in part.pictures[1:])
    more = f"<details><summary>more: {escaped(heads)}</summary>{''.join(others)}</details>" if others else ""
    return f'<h3 id="{name}">{escaped(part.title)}</h3>{lead}{first}{more}'


def _figure(picture: Picture, width: int) -> str:
    shown: Embedded = embedded(picture.path, width)
    head = f"<h4>{escaped(picture.title)}</h4>"
    text = f'<p class="soft">{escaped(picture.text)}</p>' if picture.text else ""
    title = picture.title if picture.title.endswith((".", "?", "!")) else f"{picture.title}."
    alt = escaped(f"{title} {picture.finding}".strip())
    across, down = (max(1, round(side / _DENSITY)) for side in (shown.width, shown.height))
    return (
        f'{head}<figure><div class="plate"><img class="chart" alt="{alt}" width="{across}" height="{down}" '
        f'src="{shown.address}"></div><figcaption><p class="finding">{escaped(picture.finding)}</p>{text}</figcaption>'
        "</figure>"
    )


def _making(chapter: Chapter) -> Iterator[str]:
    yield "<h3>How it was made</h3>"
    if chapter.seconds:
        lines = "".join(
            f'<tr><th scope="row">{escaped(stage)}</th><td>{duration(seconds)}</td></tr>'
            for stage, seconds in chapter.seconds.items()
        )
        yield (
            '<p>What each stage took when it was first run:</p><div class="scroll" tabindex="0" role="region" '
            f'aria-label="Time of each stage"><table><tbody>{lines}</tbody></table></div>'
        )
    if chapter.commands:
        text = escaped("\n".join(chapter.commands))
        yield f"<details><summary>how to make this page again</summary><pre>{text}</pre></details>"
    for head, text in chapter.details.items():
        yield f"<details><summary>{escaped(head)}</summary><pre>{escaped(text)}</pre></details>"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def escaped(text: str) -> str:
    """Text for HTML; names of strangers' files may be in it."""
    return html.escape(printable(text, lines=True))
