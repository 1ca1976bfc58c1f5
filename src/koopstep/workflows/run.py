"""A run as people use it: what training left in a folder, and what can be done with it."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from koopstep.core.arguments import AnyDevice, AnyPath, checked
from koopstep.core.errors import KoopstepError
from koopstep.core.job import Job
from koopstep.data.reference import RealData
from koopstep.data.store import Store
from koopstep.evaluation.outcome import Evaluation
from koopstep.recipes.recipe import Recipe
from koopstep.runs.folder import EVALUATION, RunConfig, own_store, read_config, read_evaluation, read_metrics
from koopstep.runs.resumable import Trained
from koopstep.sampling.fewstep import Between
from koopstep.sampling.student import Student
from koopstep.teachers.base import Teacher


class Run:
    """What training left in a folder: settings, checkpoints, a student, and what was measured of it.

    `koopstep.train` and `koopstep.distil` return one; ``Run.open(folder)`` opens one that is there. Every function that takes
    a run takes one of these, or the path of its folder.

    Example:
        >>> run = koopstep.Run.open("run")
        >>> images = run.student.sample(16)
        >>> run.evaluate().metrics["pair_mse"]
        >>> run.plot.spectrum()                            # a matplotlib figure
        >>> run.analyze.linearity().conclusion
        >>> run.report()                                   # the path of the page

    Attributes:
        folder: where it is.
        device: where its student computes and is measured; None for the usual choice.
        trained: what the training did that returned this run; None of one that was opened.
    """

    @checked
    def __init__(self, folder: AnyPath, *, device: AnyDevice | None = None, trained: Trained | None = None) -> None:
        self.folder = Path(folder)
        self.device = device
        self.trained = trained

    @classmethod
    @checked
    def open(cls, folder: AnyPath, *, device: AnyDevice | None = None) -> Self:
        """Open the run in ``folder``, finished or not.

        Args:
            folder: what training made.
            device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.

        Raises:
            UsageError: if there is no run in it.
            DamagedError: if its settings cannot be read.
        """
        run = cls(folder, device=device)
        run.config  # noqa: B018 - read now, so that a wrong folder is refused here
        return run

    @cached_property
    def config(self) -> RunConfig:
        """``config.yaml``: every setting, and what the run was trained on."""
        return read_config(self.folder)

    @property
    def recipe(self) -> Recipe:
        """Every setting of the teacher's paths, the student, its objective, its training and its evaluation."""
        return self.config.recipe

    @cached_property
    def student(self) -> Student:
        """The trained student.

        Raises:
            UsageError: if the run is not trained to its end.
        """
        return Student.load(self.folder, device=self.device)

    @cached_property
    def store(self) -> Store:
        """The store that it was trained on.

        Raises:
            UsageError: if that is not where it was.
        """
        return own_store(self.folder, self.config)

    @property
    def history(self) -> list[dict[str, Any]]:
        """What training logged, oldest first: ``step``, ``total``, each term, ``learning_rate``, ``seconds``."""
        return read_metrics(self.folder)

    @property
    def trained_steps(self) -> int:
        """How many steps were trained and logged so far."""
        return max((int(row.get("step", 0)) for row in self.history), default=0)

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return (self.folder / "student" / "config.json").is_file()

    @property
    def evaluation(self) -> Evaluation:
        """What was last measured of it.

        Raises:
            UsageError: if it was not evaluated yet.
        """
        return Evaluation.of(read_evaluation(self.folder), self.folder / EVALUATION)

    @checked
    def evaluate(
        self,
        *,
        data: AnyPath | None = None,
        reference: RealData | None = None,
        count: int | None = None,
        metrics: Sequence[str] | None = None,
        reference_count: int | None = None,
        steps: int = 1,
        between: Between = "noise",
        weights: AnyPath | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Evaluation:
        """Measure the student and its teacher on noise that training never saw: `koopstep.evaluate` of this run."""
        from koopstep.workflows.evaluate import evaluate

        return evaluate(
            self,
            data=data,
            reference=reference,
            count=count,
            metrics=metrics,
            reference_count=reference_count,
            steps=steps,
            between=between,
            weights=weights,
            device=self.device,
            quiet=quiet,
            job=job,
        )

    @checked
    def report(
        self,
        out: AnyPath | None = None,
        *,
        data: AnyPath | None = None,
        reference: RealData | None = None,
        teacher: AnyPath | Teacher | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Path:
        """Write one page about it and return the page's path: `koopstep.report` of this run."""
        from koopstep.workflows.report import report

        return report(
            self, out, data=data, reference=reference, teacher=teacher, device=self.device, quiet=quiet, job=job
        )

    @property
    def analyze(self) -> Bound:
        """The functions of `koopstep.analyze` for this run: ``run.analyze.spectrum()``."""
        from koopstep.workflows import analyze

        return Bound(analyze, self)

    @property
    def edit(self) -> Bound:
        """The functions of `koopstep.edit` for this run: ``run.edit.mix()``."""
        from koopstep.workflows import edit

        return Bound(edit, self)

    @property
    def plot(self) -> Bound:
        """The functions of `koopstep.plot` for this run: ``run.plot.spectrum(ax=axes)``."""
        from koopstep.workflows import plot

        return Bound(plot, self)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<Run {str(self.folder)!r}: {', '.join(self._facts().values())}>"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left'>{html.escape(fact)}</td></tr>"
            for name, fact in {"run": str(self.folder), **self._facts()}.items()
        )
        return f"<table>{cells}</table>"

    def _facts(self) -> dict[str, str]:
        """What it is, in a few words each; a damaged or absent folder has some, too."""
        try:
            recipe = self.recipe
        except KoopstepError:
            return {"state": "no run"}
        steps, total = self.trained_steps, recipe.training.steps
        facts = {
            "method": f"{recipe.method} from {self.config.teacher}",
            "trained": f"{total:,} steps" if self.finished else f"{steps:,} of {total:,} steps, not finished",
        }
        try:
            measured = self.evaluation.metrics
        except KoopstepError:
            return facts
        numbers = (f"{name} {value:.4g}" for name, value in measured.items() if isinstance(value, int | float))
        return facts | {"measured": " ".join(list(numbers)[:3])}


class Bound:
    """The functions of a namespace such as `koopstep.plot`, with a run as their first argument."""

    def __init__(self, functions: ModuleType, run: Run) -> None:
        self._functions, self._run = functions, run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        function = getattr(self._functions, name)
        options = {"device": self._run.device} if "device" in signature(function).parameters else {}
        bound = partial(function, self._run, **options)
        bound.__doc__ = function.__doc__
        return bound

    def __dir__(self) -> list[str]:
        return [*dir(self._functions)]

    def __repr__(self) -> str:
        return f"<of {self._run!r}: {', '.join(dir(self))}>"
