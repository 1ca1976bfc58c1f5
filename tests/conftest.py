"""What every test shares: headless figures, the package on the path of child processes, the outside data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

# Before anything imports torch or matplotlib, and inherited by every process a test starts.
os.environ["MPLBACKEND"] = "Agg"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]))
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; more threads than cores is far slower
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every machine, and no time limit for a busy one.
settings.register_profile("koopstep", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("koopstep")


def find_shared_folder() -> Path | None:
    """The data folder outside the repository: KOOPSTEP_SHARED, else `shared` beside the checkout."""
    named = os.environ.get("KOOPSTEP_SHARED")
    if named and not Path(named).is_dir():
        raise pytest.UsageError(f"KOOPSTEP_SHARED={named} is no folder; correct it or unset it")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    return folder if folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `shared` where the folder is absent."""
    if find_shared_folder() is not None:
        return
    skip = pytest.mark.skip(reason="no data folder: set KOOPSTEP_SHARED or put `shared` beside the checkout")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def denormals_are_numbers() -> Iterator[None]:
    """A command that runs in the tests' process flushes denormals for the whole process; the next test wants them back."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    """What a test registers (operators, terms, metrics, ...) is not there for the next one."""
    yield
    registry = sys.modules.get("koopstep.core.registry")
    if registry is not None:
        registry.forget()


@pytest.fixture
def shared_folder(request: pytest.FixtureRequest) -> Path:
    """The data folder outside the repository; only for tests marked `shared`."""
    if "shared" not in request.keywords:
        raise pytest.UsageError(f"{request.node.nodeid} uses shared_folder and must be marked `shared`")
    folder = find_shared_folder()
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_python(*arguments, timeout=600, **options)`: this interpreter in a new process."""

    def run(*arguments: str | Path, timeout: float = 600, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload]
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
            **options,
        )

    return run
