"""The commands with the real workflows behind them, at the smallest size; the fakes of the other tests answer alike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cli_fakes
import pytest

from koopstep.cli import main
from koopstep.evaluation.outcome import Evaluation
from koopstep.runs.findings import Written
from koopstep.runs.resumable import Trained

NETWORK = "{kind: mlp, width: 8, depth: 2}"
TINY = [
    f"student={{kind: kdm, encoder: {NETWORK}, decoder: {NETWORK}, operator: {{kind: dense}}, latent: 6}}",
    "training={steps: 4, batch_size: 8, learning_rate: 0.01, log_every: 1}",
]
TEACH = [
    "teacher.training={steps: 2, batch_size: 8, log_every: 1}",
    f"teacher.model.network={NETWORK}",
]


def options(changes: list[str]) -> list[str]:
    return [word for change in changes for word in ("-o", change)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a run that was measured."""
    place = tmp_path_factory.mktemp("real")
    store, run = str(place / "store"), str(place / "run")
    steps = [
        ["collect", "checkerboard-edm", "--out", store, "--count", "40", "--steps", "2", "--hold-out", "20"],
        ["train", "checkerboard", "--data", store, "--out", run, *options(TINY)],
        ["evaluate", run, "--metrics", "pair_mse"],
    ]
    for words in steps:
        assert main.run(words) == 0
    return place


# The function whose answer the command prints -> a command line.
COMMANDS = {
    "list_presets": "presets",
    "show_preset": "presets checkerboard",
    "teacher_info": "teacher info checkerboard-edm",
    "teach": "teacher train checkerboard --out taught.safetensors",
    "collect_store": "collect checkerboard-edm --out made --count 8 --steps 1",
    "store_info": "data info store",
    "verify_store": "data verify store",
    "repair_store": "data repair store --teacher checkerboard-edm",
    "sample_run": "sample run --count 2 --out samples.npz",
    "evaluate": "evaluate run --metrics pair_mse,in_cell",
    "analyze_run": "analyze run spectrum --out drawn",
    "compare_runs": "compare run",
}
FAKES = {name: answer for functions in cli_fakes.ANSWERS.values() for name, answer in functions.items()}


def kinds(answer: dict[str, Any]) -> dict[str, str]:
    """The names in an answer, and what kind of value each has."""
    return {
        name: "number" if isinstance(value, int | float) else type(value).__name__ for name, value in answer.items()
    }


def as_plain(answer: Any) -> Any:
    """A fake answer as its command prints it."""
    if isinstance(answer, Evaluation):
        return answer.plain() | {"files": [str(file) for file in answer.files]}
    if isinstance(answer, cli_fakes.Trained):  # of a teacher, which is shown as well
        return cli_fakes.TEACHER | {"step": answer.step, "loss": answer.loss, "seconds": answer.seconds}
    return dataclasses.asdict(answer) if dataclasses.is_dataclass(answer) else answer  # type: ignore[arg-type]


@pytest.mark.parametrize("function", COMMANDS)
def test_the_fake_answers_as_the_workflow_does(
    function: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = COMMANDS[function].split()
    changes = options(TEACH) if function == "teach" else []
    assert main.run([*words, *changes, "--json"]) == 0
    real = json.loads(capsys.readouterr().out)
    answer = FAKES[function]
    fake = json.loads(json.dumps(as_plain(answer)))
    if isinstance(answer, cli_fakes.Written):
        del fake["numbers"]  # those are for people
    assert kinds(fake) == kinds(real)


def test_every_fake_is_compared() -> None:
    elsewhere = {
        "run_demo",
        "run_distil",
        "preset_yaml",
        "train",
        "convert",
        "import_store",
        "mix",
        "scale",
        "inpaint",
        "colorize",
        "superres",
        "report",
    }
    assert set(COMMANDS) | elsewhere == set(FAKES)
    for fake, real in ((cli_fakes.Trained, Trained), (cli_fakes.Written, Written)):
        assert [field.name for field in dataclasses.fields(fake)] == [field.name for field in dataclasses.fields(real)]
