"""Write the pages of the Python reference that follow from tables. Usage: .venv/bin/python scripts/make_reference_pages.py"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from koopstep.workflows import plot  # noqa: E402
from koopstep.workflows.analyses import ANALYSES  # noqa: E402
from koopstep.workflows.edit import __all__ as EDITS  # noqa: E402

_MADE = "<!-- made by scripts/make_reference_pages.py from the package's tables; do not edit -->"
_SHARED = """`run` is a run, its folder, or a student's folder. Those that look at held-out rows take `data=` (another store)
and `reference=` (other real data). Figures and `values.json` go to `out=`, or to the run's `report/NAME`. The result has
`.conclusion` (one sentence), `.numbers` (the few that say most), `.values` (all) and `.files`."""


def analyses() -> str:
    """``docs/api/analyses.md``."""
    rows = [
        f"| `ks.analyze.{name}(run)` | {entry.about} | {', '.join(entry.needs) or 'a student'} |"
        for name, entry in ANALYSES.items()
    ]
    edits = "\n\n".join(f"::: koopstep.edit.{name}" for name in EDITS)
    lines = ["# Analyses and edits", _MADE, "## ks.analyze", _SHARED, _table(("function", "shows", "needs"), rows)]
    return "\n\n".join([*lines, "How to read each: [reading a student](../reading.md).", "## ks.edit", edits]) + "\n"


def figures() -> str:
    """``docs/api/figures.md``."""
    shown_by = {Path(view).stem: name for name, entry in ANALYSES.items() for view in entry.views}
    own = {
        "losses": "each term of the objective over the steps",
        "samples": "samples of student and teacher from the same noise",
    }
    rows = [
        f"| `ks.plot.{name}(run)` | {own.get(name) or 'picture of `ks.analyze.' + shown_by[name] + '`'} |"
        for name in plot.__all__
    ]
    text = """Each draws on the axes that are given, `ks.plot.spectrum(run, ax=axes)`, or on a new figure, and returns the
matplotlib figure. Pictures of several panels take as many axes. `run.plot.spectrum(ax=axes)` is the same.
pyplot's own figures and style
stay as they are."""
    return "\n\n".join(["# Figures", _MADE, text, _table(("function", "draws"), rows)]) + "\n"


def _table(head: Iterable[str], rows: list[str]) -> str:
    head = list(head)
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows])


if __name__ == "__main__":
    for name, text in (("analyses", analyses()), ("figures", figures())):
        (ROOT / "docs" / "api" / f"{name}.md").write_text(text, encoding="utf-8")
