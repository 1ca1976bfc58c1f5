"""The page itself: what strangers write is only shown, and many large pictures make no large page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from koopstep.core.errors import DamagedError, UsageError
from koopstep.figures import html
from koopstep.figures.html import Chapter, Fact, Part, Picture, Row, duration, number, write_report
from koopstep.figures.html_links import ImageLinks, PointLinks, links_html
from koopstep.figures.html_pictures import embedded, picture_address

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'\x1b[31m"


def _noise(path: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _chapter(pictures: list[Picture], word: str = "x") -> Chapter:
    return Chapter(
        title=word,
        lead=word,
        facts=[Fact(word, word, word)],
        notes=[word],
        links=None,
        rows=[Row(word, word, word, 0.5, None)],
        measured=word,
        parts=[Part(word, word, pictures)],
        seconds={word: 3.0},
        commands=[word],
        details={word: word},
    )


def test_what_strangers_write_is_only_shown(tmp_path: Path) -> None:
    picture = Picture(_noise(tmp_path / "a.png", 8, 8), EVIL, EVIL, EVIL)
    page = write_report(tmp_path / "page.html", EVIL, EVIL, [_chapter([picture], EVIL)]).read_text()
    assert page.count("<script") == 1 and "<img src=x" not in page and "\x1b" not in page
    zeros = np.zeros((3, 4, 4, 3), np.uint8)
    grid = links_html(ImageLinks({EVIL: zeros, "b": zeros}, EVIL, EVIL, names=[EVIL] * 3))
    dots = links_html(PointLinks({EVIL: np.zeros((3, 2)), "b": np.ones((3, 2))}, ["#000000"] * 3, EVIL, EVIL))
    for text in (grid, dots):
        assert "<script>" not in text and "<img src=x" not in text and text.count("</script>") == 1


def test_a_page_of_many_large_pictures_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [Picture(_noise(tmp_path / f"{index}.png", 700, 60), "noise", "It is noise.") for index in range(3)]
    sizes = []
    for most in (2_900_000, 170_000):
        monkeypatch.setattr(html, "MOST_BYTES", most)
        page = write_report(tmp_path / "page.html", "title", "lead", [_chapter(pictures)])
        sizes.append(page.stat().st_size)
    assert 170_000 < sizes[0] < 2_900_000 and sizes[1] < 170_000


def test_pictures_are_embedded_no_wider_than_asked(tmp_path: Path) -> None:
    wide = embedded(_noise(tmp_path / "wide.png", 800, 200), 400)
    assert (wide.width, wide.height) == (400, 100) and wide.address.startswith("data:image/png;base64,")
    small = embedded(_noise(tmp_path / "small.png", 30, 20), 400)
    assert (small.width, small.height) == (30, 20)
    Image.new("P", (12, 7)).save(tmp_path / "film.gif")
    film = embedded(tmp_path / "film.gif", 400)
    assert (film.width, film.height) == (12, 7) and film.address.startswith("data:image/gif;base64,")
    (tmp_path / "cut.gif").write_bytes(b"GIF89a")
    with pytest.raises(DamagedError, match="make it again"):
        embedded(tmp_path / "cut.gif", 400)
    (tmp_path / "text.png").write_bytes(b"text")
    with pytest.raises(UsageError, match="no PNG"):
        embedded(tmp_path / "text.png", 400)


def test_alternative_text_ends_each_sentence_once(tmp_path: Path) -> None:
    picture = _noise(tmp_path / "a.png", 4, 4)
    chapter = _chapter([Picture(picture, "Near?", "It is.", "x"), Picture(picture, "Far", "It was.", "x")])
    page = write_report(tmp_path / "index.html", "x", "x", [chapter]).read_text()
    assert 'alt="Near? It is."' in page and 'alt="Far. It was."' in page


def test_a_grid_becomes_a_png_and_photographs_a_jpeg() -> None:
    plain = np.zeros((40, 40, 3), np.uint8)
    assert picture_address(plain).startswith("data:image/png")
    photographs = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert picture_address(photographs).startswith("data:image/jpeg")


def test_every_noise_has_its_place_in_every_panel() -> None:
    images = np.stack([np.full((4, 4, 3), 40 * index, np.uint8) for index in range(7)])
    text = links_html(ImageLinks({"noise": images, "student": images}, "A finding."))
    assert '"count":7,"columns":6,"rows":2' in text and text.count("<canvas") == 2
    places = np.array([[0.0, 0.0], [3.0, -3.0], [np.nan, 1e9]])
    links = PointLinks({"noise": places, "student": places[:, ::-1]}, ["#111111", "#222222", "#222222"], "A finding.")
    dots = links_html(links)
    assert '"reach":3.5,"points":[100.0,100.0,185.7,185.7,2.0,2.0]' in dots  # what is no number is at the edge
    assert dots.count("<path stroke") == 4  # a path a colour in each panel


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0"), (0.13, "0.130"), (1234.5, "1,234"), (1e-7, "1.0e-07")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_durations() -> None:
    assert [duration(seconds) for seconds in (3.21, 100.0, 7300.0)] == ["3.2 s", "1 min 40 s", "2 h 1 min"]
