"""What `pip install` gets: the wheel carries the presets, the weights, the type marker and the command."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = {".yaml", ".safetensors", ".json", ".typed", ".html", ".css", ".js"}


def test_the_wheel_is_complete(
    repository: Path, tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools, the build backend, is not installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(repository / "src", tmp_path / "src", ignore=ignored)

    done = run_python(
        "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", ".", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("koopstep-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        (entry,) = (archive.read(name).decode() for name in packed if name.endswith("entry_points.txt"))

    wanted = {
        path.relative_to(tmp_path / "src").as_posix()
        for path in (tmp_path / "src" / "koopstep").rglob("*")
        if path.suffix in DATA | {".py"}
    }
    assert wanted <= packed, f"left out: {sorted(wanted - packed)}"
    assert "koopstep/py.typed" in packed
    assert "koopstep = koopstep.cli.main:main" in entry
