"""Files that mean harm are refused in two seconds and 300 MB each, and a picture starts no other program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koopstep.core.errors import UsageError
from koopstep.editing.masks import read_mask
from koopstep.formats import images, pictures

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
def test_hostile_inputs_are_refused_at_once(run_python: Callable[..., Any], repository: Path) -> None:
    done = run_python(repository / "benchmarks" / "hostile_inputs.py", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert len(rows) >= 25
    for row in rows:
        assert row["said"].startswith(("UsageError: ", "DamagedError: ")), row
        assert "\n" not in row["said"] and len(row["said"]) < 500, row
        assert row["processor_seconds"] < 2 and row["megabytes"] < 300, row


def test_a_picture_starts_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow opens PostScript by its content, whatever its name, and starts the ``gs`` it finds."""
    (tmp_path / "bin").mkdir()
    mark, stand_in = tmp_path / "mark", tmp_path / "bin" / "gs"
    stand_in.write_text(f"#!/bin/sh\ntouch {mark}\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "pictures"
    folder.mkdir()
    path = folder / "a.png"
    path.write_bytes(POSTSCRIPT)
    for read in (
        pictures.read_picture,
        lambda path: pictures.size(path.read_bytes(), str(path)),
        lambda path: read_mask(path, 8, 8),
        lambda path: images.load(path.parent),
    ):
        with pytest.raises(UsageError, match="no PNG or JPEG"):
            read(path)
    assert not mark.exists()
