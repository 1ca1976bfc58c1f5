"""Ten thousand changed files: nothing runs, nothing but our errors comes back, little memory, little time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_pickles
import pytest

HERE = Path(__file__).resolve().parent
LARGEST_MEBIBYTES = 300
SLOWEST_SECONDS = 1.0

MEASURE = """
import json, sys, time
from pathlib import Path
from koopstep.core.errors import DamagedError, UsageError
from koopstep.formats.inert.dialect import Limits
from koopstep.formats.inert.torch_dialect import STATE_DICT
from koopstep.formats.inert.torch_files import read_torch_file
from koopstep.teachers.foreign.edm_dialect import read_edm_pickle

reads = {"edm": read_edm_pickle, "zip": lambda data, where: read_torch_file(data, STATE_DICT, Limits(), where)}
refused, slowest = 0, 0.0
for path in sorted(Path(sys.argv[1]).iterdir()):
    data, started = path.read_bytes(), time.process_time()
    try:
        reads[path.suffix[1:]](memoryview(data), path.name)
    except (DamagedError, UsageError):
        refused += 1
    slowest = max(slowest, time.process_time() - started)
status = Path("/proc/self/status").read_text().splitlines()  # getrusage would count the starting process's memory too
peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
print(json.dumps({"refused": refused, "slowest": slowest, "mebibytes": peak, "torch": "torch" in sys.modules}))
"""


def mutate(run_python: Callable[..., Any], tmp_path: Path, count: int) -> None:
    done = run_python(HERE / "inert_mutations.py", str(count), "0", timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["events"] == {}
    assert found["other_exceptions"] == {}
    assert found["files_made"] == []
    assert found["slowest_seconds"] < SLOWEST_SECONDS
    assert found["mebibytes"] < LARGEST_MEBIBYTES
    assert sum(found["outcomes"].values()) == count
    # both kinds of refusal happen, and some changes (of weights) cannot be seen: a digest is for those
    assert found["outcomes"]["DamagedError"] > count / 5
    assert found["outcomes"]["UsageError"] > count / 5
    assert 0 < found["outcomes"]["loaded"] < count / 5


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured as Linux does")
def test_500_mutations(run_python: Callable[..., Any], tmp_path: Path) -> None:
    mutate(run_python, tmp_path, 500)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured as Linux does")
def test_10000_mutations(run_python: Callable[..., Any], tmp_path: Path) -> None:
    mutate(run_python, tmp_path, 10_000)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured as Linux does")
def test_bombs_are_refused_before_they_cost_anything(run_python: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    count = 0
    for index, (_, data) in enumerate(hostile_pickles.bombs()):
        (folder / f"{index:03}.edm").write_bytes(data)
        (folder / f"{index:03}.zip").write_bytes(hostile_pickles.zip_file({"archive/data.pkl": data}))
        count += 2
    assert count >= 60
    done = run_python("-c", MEASURE, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["refused"] == count
    assert found["slowest"] < SLOWEST_SECONDS
    assert found["mebibytes"] < LARGEST_MEBIBYTES
    assert found["torch"] is False  # so that the memory is the interpreter's own


def test_the_hook_sees_what_acts(run_python: Callable[..., Any], tmp_path: Path) -> None:
    """The same changed files in Python's own unpickler do import and open."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import hostile_pickles, os, pickle\n"
        "events = set()\n"
        "sys.addaudithook(lambda event, arguments: events.add(event))\n"
        "for name, data in hostile_pickles.edm_files():\n"
        "    if name in ('os.system', 'builtins.exec', 'really pickled open'):\n"
        "        os.mkdir(name), os.chdir(name), pickle.loads(data), os.chdir('..')\n"
        "print(*events & {'os.system', 'exec', 'open', 'pickle.find_class'})"
    )
    done = run_python("-W", "ignore", "-c", code, cwd=tmp_path)
    assert set(done.stdout.split()) == {"os.system", "exec", "open", "pickle.find_class"}, done.stderr
