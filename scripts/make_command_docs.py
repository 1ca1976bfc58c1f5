"""Write docs/commands.md from the command line. Usage: .venv/bin/python scripts/make_command_docs.py"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from koopstep.cli.reference import render  # noqa: E402

if __name__ == "__main__":
    page = ROOT / "docs" / "commands.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(render(), encoding="utf-8")
    print(f"wrote {page}")
