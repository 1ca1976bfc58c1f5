"""Workflows that answer at once, in the place of the real ones; nothing here imports torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

from koopstep.evaluation.outcome import Evaluation
from koopstep.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Trained:
    step: int
    loss: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Written:
    files: tuple[str, ...]
    values: dict[str, Any]
    numbers: dict[str, Any] = field(default_factory=lambda: {"count": 3})

    @property
    def conclusion(self) -> str:
        return str(self.values["conclusion"])


@dataclass(frozen=True)
class Job:
    place: SimpleNamespace
    console: Any
    stop: Callable[[], bool]


class Settings:
    """Stands for `CollectSettings`."""

    @staticmethod
    def parse(mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
        return dict(mapping)


TEACHER = {
    "file": "t.safetensors",
    "name": "t",
    "kind": "edm",
    "shape": [2],
    "num_classes": 0,
    "parameters": 12345,
    "sha256": "ab",
    "made_by": "test",
    "weights_dtype": "float32",
    "training_data": {"name": "board"},
    "source": {},
    "config": {"kind": "edm"},
}
ONE_DEMO = {
    "run": "runs/x/run",
    "teacher": {"nfe": 35, "pair_mse": None, "in_cell": 0.99},
    "student": {"nfe": 1},
    "metrics": {"pair_mse": 1e-3, "in_cell": 0.98},
    "seconds": {"collect": 1.5, "train": 20.0},
    "files": [],
}
INFO = {
    "count": 10,
    "held_out": 1,
    "bytes": 800,
    "root": "ab",
    "shape": [2],
    "states": 2,
    "teacher": "t",
    "manifest": {},
    "damaged": [],
}
DAMAGED = [{"unit": 3, "start": 9, "stop": 12, "reason": "other hash"}]

ANSWERS: dict[str, dict[str, Any]] = {
    "koopstep.workflows.demo": {
        "run_demo": {
            "report": "runs/x/report.html",
            "runs": {"checkerboard": ONE_DEMO, "digits": ONE_DEMO},
        }
    },
    "koopstep.workflows.distil": {
        "run_distil": {
            "run": "r",
            "report": "r/report/index.html",
            "plan": {"method": "kdm", "count": 9, "steps": 5, "bytes": 10, "seconds": 1.0},
            "metrics": {"pair_mse": 1e-3},
            "teacher": {"nfe": 35, "name": "t"},
            "student": {"nfe": 1, "steps": 5},
            "seconds": {"collect": 1.5},
        }
    },
    "koopstep.workflows.presets": {
        "list_presets": {
            "presets": [{"name": "board", "about": "points"}],
            "methods": [{"name": "kdm", "about": "dense"}],
        },
        "preset_yaml": "about: points\n",
        "show_preset": {
            "preset": "board",
            "method": "kdm",
            "about": "points",
            "teacher": {"parameters": 55733891},
            "student": {"parameters": 2, "sampling_parameters": 1},
            "config": {"training": {"steps": 5}},
        },
    },
    "koopstep.workflows.teacher": {
        "teacher_info": TEACHER,
        "teach": Trained(5, float("nan"), 1.0, 20.0),
    },
    "koopstep.workflows.convert": {
        "convert": TEACHER | {"source": "s", "source_sha256": "cd", "format": "edm-pickle", "notes": []},
    },
    "koopstep.workflows.collect": {
        "collect_store": {
            "count": 10,
            "bytes": 80,
            "seconds": 0.5,
            "complete": True,
            "grown_from": 0,
            "teacher": "t",
            "nfe": 35,
        },
        "store_info": INFO,
        "verify_store": {"count": 10, "damaged": [], "root": "ab"},
        "repair_store": {"count": 10, "damaged": [], "repaired": [3], "identical": True, "root": "ab"},
    },
    "koopstep.workflows.import_pairs": {"import_store": INFO | {"layout": "kdm-ffhq"}},
    "koopstep.workflows.train": {
        "train": SimpleNamespace(folder=Path("r"), trained=Trained(5, float("inf"), 1.0, 2000.0))
    },
    "koopstep.workflows.sample": {
        "sample_run": {"seconds": 0.1, "images_per_second": 40.0, "count": 4, "files": ["x.png"]}
    },
    "koopstep.workflows.evaluate": {
        "evaluate": Evaluation(
            metrics={"pair_mse": 0.001, "in_cell": float("nan")},
            teacher={"in_cell": 0.99},
            left_out={"mmd": "needs real data"},
            protocol=Protocol(
                metrics=("pair_mse",), count=100, noise_seed=0, noise_rows="some", software={"torch": "2"}
            ),
            files=(Path("e.json"),),
        )
    },
    "koopstep.workflows.analyze": {
        "analyze_run": Written(("s.png",), {"conclusion": "All modes decay.", "level": [{"radius": 0.5}]})
    },
    "koopstep.workflows.edit": {
        "mix": Written(
            ("m.png",),
            {"conclusion": "It stays inside.", "what": "mix", "ratio": 0.9, "edits": {"band": [{"ratio": 0.9}]}},
        ),
        **{
            what: Written(("f.png",), {"conclusion": "It helps.", "what": what, "results": {"ours": {"psnr": 20.0}}})
            for what in ("scale", "inpaint", "colorize", "superres")
        },
    },
    "koopstep.workflows.report": {"report": Path("runs/x/report/index.html")},
    "koopstep.workflows.compare": {
        "compare_runs": {
            "rows": [{"name": "teacher", "pair_mse": None}, {"name": "a", "pair_mse": 0.5}],
            "protocol": {},
        }
    },
}


class Calls(dict[str, dict[str, Any]]):
    """Function -> the arguments it was last called with, by position (`"0"`, `"1"`, ...) and name."""


def install(put: Callable[[str, ModuleType], None]) -> Calls:
    """Put a fake module in the place of each workflow; `put(name, module)` does it."""
    calls = Calls()
    for name, functions in ANSWERS.items():
        module = ModuleType(name)
        for function, answer in functions.items():
            setattr(module, function, _fake(function, answer, calls))
        put(name, module)
    settings = ModuleType("koopstep.data.collect")
    settings.CollectSettings = Settings  # type: ignore[attr-defined]
    put("koopstep.data.collect", settings)
    pairs = ModuleType("koopstep.data.pairs")
    pairs.LayoutName = Literal["auto", "kdm-ffhq"]  # type: ignore[attr-defined]
    put("koopstep.data.pairs", pairs)
    job = ModuleType("koopstep.core.job")
    job.Job, job.never, job.working_on = Job, bool, _working_on  # type: ignore[attr-defined]
    put("koopstep.core.job", job)
    return calls


def install_for_good() -> Calls:
    """The same for a process of one's own."""
    return install(sys.modules.__setitem__)


@contextmanager
def _working_on(device: str | None) -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(device=device, rank=0, world=1)


def _fake(name: str, answer: Any, calls: Calls) -> Callable[..., Any]:
    def function(*args: Any, **options: Any) -> Any:
        calls[name] = {str(index): value for index, value in enumerate(args)} | options
        return answer

    return function
