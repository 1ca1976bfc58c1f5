"""scripts/install.sh asks pip for the build of PyTorch that fits the machine, and for the lock's versions."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PYTORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# Stands in for the environment's interpreter: writes down what it is asked and refuses what REFUSE matches.
RECORDER = """#!/bin/sh
echo "$*" >>"$RECORD"
case "$*" in *extra-index-url*) exit 0 ;; *$REFUSE*) exit 1 ;; esac
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def torch_requests(repository: Path, folder: Path, *, system: str, gpu: bool, refuse: str = "nothing") -> list[str]:
    """What the script asks of pip on such a machine, with the torch requirement in it."""
    executable(folder / "venv" / "bin" / "python", RECORDER)
    executable(folder / "bin" / "uname", f"#!/bin/sh\necho {system}\n")
    executable(folder / "bin" / "nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    environment = {key: value for key, value in os.environ.items() if key not in {"TORCH", "PYTHON"}} | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RECORD": str(folder / "record"),
        "REFUSE": refuse,
    }
    script = repository / "scripts" / "install.sh"
    subprocess.run(["sh", str(script), str(folder / "venv"), "analysis"], cwd=repository, env=environment, check=True)
    asked = (folder / "record").read_text(encoding="utf-8").splitlines()
    installs = [line for line in asked if " install " in line]
    assert all("-c constraints.txt" in line for line in installs)
    assert installs[-1].endswith("--editable .[analysis]")
    return [line for line in installs if "torch==" in line]


@pytest.fixture(scope="module")
def pin(repository: Path) -> str:
    (pinned,) = re.findall(r"^torch==\S+$", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    return pinned


def test_without_a_gpu_linux_gets_the_cpu_build(repository: Path, tmp_path: Path, pin: str) -> None:
    (request,) = torch_requests(repository, tmp_path, system="Linux", gpu=False)
    assert request.endswith(f"{pin}+cpu")
    assert PYTORCH_INDEX not in request


def test_the_cpu_build_comes_from_pytorch_where_the_index_has_none(repository: Path, tmp_path: Path, pin: str) -> None:
    first, second = torch_requests(repository, tmp_path, system="Linux", gpu=False, refuse="+cpu")
    assert PYTORCH_INDEX not in first
    assert second.endswith(f"--extra-index-url {PYTORCH_INDEX} {pin}+cpu")


@pytest.mark.parametrize(("system", "gpu"), [("Linux", True), ("Darwin", False)])
def test_elsewhere_the_index_has_the_right_build(
    repository: Path, tmp_path: Path, pin: str, system: str, gpu: bool
) -> None:
    (request,) = torch_requests(repository, tmp_path, system=system, gpu=gpu)
    assert request.endswith(pin)


def test_the_lock_holds_no_cuda_package_and_no_local_version(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in pins)
    assert not [line for line in pins if re.match(r"nvidia|cuda|triton|torchvision", line)]
