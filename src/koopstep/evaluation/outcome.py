"""What an evaluation found."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koopstep.core.config import dump
from koopstep.evaluation.protocol import Protocol


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A student and its teacher, measured alike on noise that training never saw.

    Attributes:
        metrics: name -> the student's value.
        teacher: name -> the teacher's value, of the metrics that do not compare with the teacher.
        left_out: metrics that could not be measured -> why.
        protocol: how it was measured: rows, real data, networks, versions.
        files: what was written.
        spread: name -> by how much (a standard deviation) the teacher's value varies with the noise, of metrics that tell it.
    """

    metrics: Mapping[str, float]
    teacher: Mapping[str, float]
    left_out: Mapping[str, str]
    protocol: Protocol
    files: tuple[Path, ...] = ()
    spread: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Any], where: Path) -> Evaluation:
        """What ``evaluation.json`` holds: the content of the file ``where``."""
        protocol = Protocol.parse(plain["protocol"], f"protocol in {where}")
        # as they were measured: files are sorted by name
        values = {name: plain["metrics"][name] for name in protocol.metrics if name in plain["metrics"]}
        return cls(values, plain["teacher"], plain.get("left_out", {}), protocol, (where,), plain.get("spread", {}))

    def plain(self) -> dict[str, Any]:
        """The same without ``files``, as JSON holds it."""
        return {
            "metrics": dict(self.metrics),
            "teacher": dict(self.teacher),
            "left_out": dict(self.left_out),
            "spread": dict(self.spread),
            "protocol": dump(self.protocol),
        }

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {_short(value)}" for name, value in self.metrics.items())
        return f"<Evaluation on {self.protocol.count} held-out rows: {values}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{_short(value)}</td><td>{_short(self.teacher.get(name))}</td></tr>"
            for name, value in self.metrics.items()
        )
        return f"<table><tr><th>metric</th><th>student</th><th>teacher</th></tr>{rows}</table>"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
