"""What an import costs: the package nothing heavier than torch, the command line not even that."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]

HEAVIER_THAN_TORCH = (
    "accelerate",
    "diffusers",
    "gradio",
    "matplotlib",
    "onnx",
    "pandas",
    "scipy",
    "sklearn",
    "tensorboard",
    "torchvision",
)
START_UP_SECONDS = 0.5
ENTRY = "from koopstep.cli.main import main; main()"


def loaded_after(code: str, suspects: tuple[str, ...], run_python: Run) -> set[str]:
    """Which of the modules `suspects` a fresh interpreter holds after running `code`."""
    done = run_python("-c", f"{code}\nimport sys\nprint(*(m for m in {suspects!r} if m in sys.modules))")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_imports_nothing_heavier_than_torch(run_python: Run) -> None:
    # Names may be resolved on first use, so every public one is asked for.
    code = "import koopstep\nassert koopstep.__all__\n[getattr(koopstep, name) for name in koopstep.__all__]"
    assert loaded_after(code, (*HEAVIER_THAN_TORCH, "typer"), run_python) == set()


def test_the_command_line_starts_without_torch(run_python: Run) -> None:
    suspects = ("torch", "numpy", *HEAVIER_THAN_TORCH)
    assert loaded_after("import koopstep.cli.main", suspects, run_python) == set()


def test_the_check_sees_what_is_loaded(run_python: Run) -> None:
    assert loaded_after("import numpy", ("torch", "numpy"), run_python) == {"numpy"}


def test_help_comes_at_once() -> None:
    script = Path(sys.executable).with_name("koopstep")
    command = [str(script)] if script.exists() else [sys.executable, "-c", ENTRY]

    def seconds() -> float:
        before = os.times()
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
        after = os.times()  # what the process worked, and not what it waited for others
        assert done.returncode == 0, done.stderr
        assert "demo" in done.stdout
        return after.children_user + after.children_system - before.children_user - before.children_system

    seconds()  # writes the byte code
    assert statistics.median(seconds() for _ in range(5)) < START_UP_SECONDS
