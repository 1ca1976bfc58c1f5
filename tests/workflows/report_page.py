"""A report, taken apart: what every page of ours must be."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

_VOID = {"meta", "link", "img", "br"}
_IN_NOTHING_ELSE = {"figcaption": "figure", "dd": "div", "dt": "div", "summary": "details", "td": "tr", "th": "tr"}


@dataclass
class Page:
    """A page's parts.

    Attributes:
        text: everything that is read.
        ids: in order.
        links: targets of links.
        pictures: decoded.
        alts: of the pictures.
        findings: one for each figure.
        figures: how many there are.
        sections: of runs.
        data: what the scripts read.
    """

    text: str
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    alts: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    figures: int = 0
    sections: int = 0
    data: list[object] = field(default_factory=list)


def read_page(path: Path) -> Page:
    """Take a page apart; fails where it is no valid, self-contained page of ours."""
    source = path.read_text(encoding="utf-8")
    assert len(source.encode()) < 3_000_000
    assert source.startswith("<!doctype html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|srcset", re.sub(r"base64,[\w+/=]+", "", source)), (
        "asks a network"
    )
    parts = _Parts()
    parts.feed(source)
    parts.close()
    assert not parts.open, f"never closed: {parts.open}"
    page = parts.page
    assert len(set(page.ids)) == len(page.ids), "an id stands twice"
    for target in page.links:
        assert target.startswith("data:") or target.removeprefix("#") in page.ids, target
    assert page.pictures or page.figures
    assert all(page.alts) and page.figures == len(page.findings)
    assert all(len(finding) > 20 and finding.rstrip().endswith(".") for finding in page.findings), page.findings
    return page


class _Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page, self.open = Page(""), []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"an attribute stands twice in {tag}"
        if tag in _IN_NOTHING_ELSE:
            assert self.open[-1][0] == _IN_NOTHING_ELSE[tag], (tag, self.open)
        if "id" in given:
            self.page.ids.append(str(given["id"]))
        self.page.figures += tag == "figure"
        self.page.sections += tag == "section"
        if "href" in given:
            self.page.links.append(str(given["href"]))
        if tag == "img":
            self.page.alts.append(given.get("alt") or "")
            self._picture(str(given["src"]))
        if tag not in _VOID:
            self.open.append((tag, given.get("class") or given.get("type") or ""))

    def _picture(self, address: str) -> None:
        head, _, data = address.partition(";base64,")
        assert head in ("data:image/png", "data:image/jpeg", "data:image/gif")
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        picture.load()
        self.page.pictures.append(picture)

    def handle_endtag(self, tag: str) -> None:
        assert tag not in _VOID and self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        tag, kind = self.open[-1] if self.open else ("", "")
        if tag == "script" and kind == "application/json":
            self.page.data.append(json.loads(data))
        elif tag == "p" and kind == "finding":
            self.page.findings.append(data)
        if tag not in ("script", "style"):
            self.page.text += data
