"""Each command: what it hands to its workflow, and what it says on which stream."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cli_fakes
import pytest

from koopstep.cli import main
from koopstep.sampling.fewstep import Stepping

MIX = {
    "count": 32,
    "seed": 0,
    "at": 0.5,
    "order": "real",
    "levels": "all",
    "reencode": None,
    "confine": True,
    "modes": None,
}
FILL = {"count": 32, "seed": 0, "at": None, "steps": 10, "image": None, "out": None}


# Command line -> the function called, and what it must have been given.
COMMANDS: list[tuple[str, str, dict[str, Any]]] = [
    ("demo", "run_demo", {"0": None, "1": "kdm", "2": None, "quick": False}),
    ("demo --preset board --quick --out d", "run_demo", {"0": "board", "1": "kdm", "2": Path("d"), "quick": True}),
    (
        "distil board --out r --budget 3m --method hkd --data s --reference f -o training.batch_size=64",
        "run_distil",
        {
            "0": "board",
            "1": Path("r"),
            "method": "hkd",
            "budget": "3m",
            "count": None,
            "data": Path("s"),
            "reference": "f",
            "quick": False,
            "changes": ["training.batch_size=64"],
        },
    ),
    ("distill board --out r --count 9 --steps 5 --quick", "run_distil", {"count": 9, "steps": 5, "quick": True}),
    ("report r", "report", {"0": Path("r"), "1": None, "data": None, "reference": None}),
    (
        "report r --out p.html --data s --reference f",
        "report",
        {"1": Path("p.html"), "data": Path("s"), "reference": "f"},
    ),
    ("presets", "list_presets", {}),
    ("presets board --method hkd", "show_preset", {"0": "board", "1": "hkd"}),
    ("presets board", "show_preset", {"0": "board", "1": None}),
    (
        "teacher train board --out t -o a=1 -o b.c=2 --resume",
        "teach",
        {"0": "board", "1": Path("t"), "changes": ["a=1", "b.c=2"], "resume": True},
    ),
    (
        "teacher convert s.pkl --out t --config c.yaml --sha256 ab --dtype float16 -o solver=euler",
        "convert",
        {
            "0": Path("s.pkl"),
            "1": Path("t"),
            "config": Path("c.yaml"),
            "sha256": "ab",
            "weights_dtype": "float16",
            "changes": ["solver=euler"],
        },
    ),
    ("teacher info t", "teacher_info", {"0": "t"}),
    (
        "collect t --out s --count 10 --keep 3 --rank 1 --world 4 --hold-out 2",
        "collect_store",
        {
            "0": "t",
            "1": Path("s"),
            "2": {
                "count": 10,
                "steps": 12,
                "keep": 3,
                "seed": 0,
                "hold_out": 2,
                "dtype": "float32",
                "autocast": "none",
            },
            "rank": 1,
            "world": 4,
        },
    ),
    ("collect t --out s --count 10 --keep all", "collect_store", {"rank": 0, "world": 1}),
    ("data info s", "store_info", {"0": Path("s")}),
    ("data verify s", "verify_store", {"0": Path("s")}),
    ("data import x --out s --data-range 0,1", "import_store", {"data_range": (0.0, 1.0)}),
    ("data import x --out s --data-range none", "import_store", {"data_range": None}),
    ("data repair s --teacher t", "repair_store", {"0": Path("s"), "1": "t"}),
    (
        "data import x --out s --hold-out 5",
        "import_store",
        {"0": Path("x"), "1": Path("s"), "hold_out": 5, "layout": "auto"},
    ),
    (
        "train board --data s --out r -o a=1",
        "train",
        {
            "0": "board",
            "1": Path("s"),
            "2": Path("r"),
            "method": None,
            "changes": ["a=1"],
            "resume": False,
            "overwrite": False,
        },
    ),
    ("train r --resume", "train", {"0": "r", "1": None, "2": None, "changes": (), "resume": True}),
    (
        "sample r --count 4 --seed 9 --class-labels 0,1 --steps 3 --between path --out x.png",
        "sample_run",
        {
            "0": Path("r"),
            "count": 4,
            "seed": 9,
            "class_labels": [0, 1],
            "out": Path("x.png"),
            "stepping": Stepping(3, "path", 9),
        },
    ),
    (
        "evaluate r --data s --metrics pair_mse,in_cell --count 5 --reference digits --steps 2",
        "evaluate",
        {
            "data": Path("s"),
            "reference": "digits",
            "count": 5,
            "metrics": ["pair_mse", "in_cell"],
            "steps": 2,
            "between": "noise",
        },
    ),
    ("analyze r spectrum --out f", "analyze_run", {"0": Path("r"), "1": "spectrum", "out": Path("f"), "data": None}),
    ("analyze r steps --reference digits", "analyze_run", {"1": "steps", "reference": "digits"}),
    (
        "edit r mix --out f --count 4 --rectangle 0,0,0.5,1 --ratio 0.1 --ratio 0.5 --no-confine --reference x.png",
        "mix",
        {
            "0": Path("r"),
            "out": Path("f"),
            **MIX,
            "count": 4,
            "rectangle": (0.0, 0.0, 0.5, 1.0),
            "ratios": [0.1, 0.5],
            "confine": False,
            "reference": Path("x.png"),
        },
    ),
    ("edit r mix", "mix", {**MIX, "out": None}),
    ("edit r mix --modes 1,remainder --no-reencode", "mix", {**MIX, "modes": ["1", "remainder"], "reencode": False}),
    (
        "edit r scale --modes leading --scale 0 --scale 1.5 --at 0.3",
        "scale",
        {"0": Path("r"), "modes": ["leading"], "scales": [0.0, 1.5], "at": 0.3, "reencode": None, "confine": True},
    ),
    ("edit r superres --factor 4 --steps 3", "superres", {"0": Path("r"), **FILL, "factor": 4, "steps": 3}),
    (
        "edit r inpaint --mask m.png --at 0.2 --image x",
        "inpaint",
        {**FILL, "mask": Path("m.png"), "at": 0.2, "image": Path("x")},
    ),
    ("edit r colorize", "colorize", FILL),
    ("compare a b", "compare_runs", {"0": [Path("a"), Path("b")]}),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> cli_fakes.Calls:
    monkeypatch.delenv("RANK", raising=False)
    return cli_fakes.install(lambda name, module: monkeypatch.setitem(sys.modules, name, module))


@pytest.mark.parametrize(("line", "function", "given"), COMMANDS, ids=[line for line, _, _ in COMMANDS])
def test_a_command_passes_on_what_it_was_told(
    line: str, function: str, given: dict[str, Any], calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(line.split()) == 0
    got = calls[function]
    assert {name: got[name] for name in given} == given
    said = capsys.readouterr()
    assert said.out.strip()
    assert said.err == ""


@pytest.mark.parametrize("line", [line for line, _, _ in COMMANDS])
def test_json_is_the_last_line_of_standard_output(
    line: str, calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([*line.split(), "--json"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1  # and it is the only one: text for people is on standard error
    assert isinstance(json.loads(said.out), dict)
    assert "NaN" not in said.out
    assert "Infinity" not in said.out
    assert said.err.strip()


def test_the_demo_shows_both_tables_and_ends_with_the_report(
    calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["report: runs/x/report.html", "next: koopstep analyze runs/x/run spectrum"]
    assert "checkerboard         teacher  student" in lines
    assert "in_cell                 0.99     0.98" in lines
    assert "pair_mse                   –    0.001" in lines
    assert "digits               teacher  student" in lines
    assert "train         20" in lines


def test_what_distil_says_to_run_next_can_be_pasted(calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["distil", "board", "--out", "a b"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "next: koopstep sample 'a b' --count 64 --out 'a b/samples.png'"


def test_repair_counts_the_units_that_it_made_again(calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["data", "repair", "s"]) == 0  # unit 3
    assert ["repaired", "1"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_training_whose_loss_is_not_finite_is_null_in_json(
    calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["train", "board", "--data", "s", "--out", "r", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {"run": "r", "step": 5, "loss": None, "seconds": 1.0, "images_per_second": 2000.0}


def test_damage_found_by_verify_ends_with_three_after_the_report(
    calls: cli_fakes.Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"count": 10, "damaged": cli_fakes.DAMAGED, "root": "ab"}
    monkeypatch.setattr(sys.modules["koopstep.workflows.collect"], "verify_store", lambda folder, job: found)
    assert main.run(["data", "verify", "s", "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["damaged"] == cli_fakes.DAMAGED
    assert said.err.splitlines()[-1] == (
        "koopstep: s: 1 damaged unit(s): unit 3 (other hash); run `koopstep data repair s`"
    )


@pytest.mark.parametrize("line", ["demo", "train board --data s --out r --json"])
def test_under_torchrun_only_the_first_process_speaks(
    line: str, calls: cli_fakes.Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main.run(line.split()) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("collect t --out s --count 10 --rank 1", "--rank and --world belong together"),
        ("collect t --out s --count 10 --keep some", "--keep takes ends, all or a number"),
        ("sample r --count 4 --out x.png --class-labels cat", "--class-labels takes integers"),
        ("evaluate r --metrics a,,b", "--metrics takes names"),
        ("edit r mix --rectangle 0,0,1", "--rectangle takes four numbers"),
        ("edit r mix --ratio much", "--ratio"),
        ("edit r mix --steps 3", "No such option: --steps, which is for inpaint, colorize, superres"),
        (
            "edit r inpaint --no-confine",
            "No such option: --no-confine, which is for mix, scale; see `koopstep edit RUN inpaint",
        ),
        ("edit r mix --band high", "'high' is not one of 'smallest', 'middle', 'largest'"),
        ("edit r blur", "No such command 'blur'"),
        ("edit r", "Missing command: mix, scale, inpaint, colorize, superres"),
        ("data import x --out s --layout odd", "--layout takes auto, kdm-ffhq"),
        ("collect t --out s --count ten", "--count"),
        ("collect t --out s --count 0", "--count"),
        ("presets --yaml", "--yaml prints one preset"),
        ("train board --data s --out r --fast", "--fast"),
        ("trian board", "trian"),
        ("data", "info, verify, repair, import"),
    ],
)
def test_bad_usage_is_one_line_and_two(
    line: str, words: str, calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("koopstep: ")
    assert words in said.err
    assert not calls


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("analyze r spectrum", ["count  3", "written to s.png", "All modes decay."]),
        ("edit r mix", ["count  3", "written to m.png", "It stays inside."]),
    ],
)
def test_an_analysis_ends_in_its_conclusion(
    line: str, lines: list[str], calls: cli_fakes.Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(line.split()) == 0
    assert capsys.readouterr().out.splitlines() == lines
