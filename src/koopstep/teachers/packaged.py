"""The teachers that come with the package, and what their files must be."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

SHA256 = {
    "checkerboard-edm": "45826a0bc74069ed3ac548347f0f865bafda64e1c88f493d2448796e838afce4",
    "checkerboard-fm": "b2ac22324705d34f1b81af4c73cfe2a9c1486099c7babf9e70f34e84ac321902",
    "digits-cond-edm": "a6c43f290684bbf1b4474fb54dbceadb9feb24fa3bf9761b5fc5a1ff10e6918c",
    "digits-edm": "42accddf6d90aa0ce8b88a49548fe9a9252155786c25572c0a6e8260bf9625b9",
}
"""Name -> SHA-256 of its file. Files of version 0.1 hold no digest of their own, so a changed bit shows here only."""


def packaged_teachers() -> dict[str, Path]:
    """Name -> file of the teachers that come with the package."""
    folder = Path(str(resources.files("koopstep") / "weights"))
    return {name: folder / f"{name}.safetensors" for name in sorted(SHA256)}


def packaged_sha256(path: Path) -> str | None:
    """What the SHA-256 of a packaged teacher's file must be; None of any other file."""
    return SHA256.get(path.stem) if packaged_teachers().get(path.stem) == path else None
