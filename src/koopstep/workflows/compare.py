"""``koopstep compare``: one table over several evaluated runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from koopstep.core.errors import UsageError
from koopstep.evaluation.protocol import Protocol, comparable
from koopstep.runs.folder import read_evaluation


def compare_runs(runs: list[Path]) -> dict[str, Any]:
    """Rows of the metrics of each run, and of their teacher.

    Raises:
        UsageError: if a run was not evaluated, or two were measured by different protocols.
    """
    if not runs:
        raise UsageError("name at least one run to compare")
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"{run} is no folder; give run folders")
    found = [(run, read_evaluation(run)) for run in runs]
    protocols = [Protocol.parse(result["protocol"], f"protocol of {run}") for run, result in found]
    for run, protocol in zip(runs[1:], protocols[1:], strict=True):
        different = comparable(protocols[0], protocol)
        if different:
            raise UsageError(
                f"{runs[0]} and {run} were measured differently ({', '.join(different)}); evaluate both with the "
                "same --data, --reference, --count and --metrics"
            )
    rows: list[dict[str, Any]] = [{"name": "teacher", "preset": found[0][1].get("preset"), **found[0][1]["teacher"]}]
    for run, result in found:
        rows.append(
            {
                "name": str(run),
                "preset": result.get("preset"),
                "method": result.get("method"),
                **result["metrics"],
            }
        )
    return {"rows": rows, "protocol": found[0][1]["protocol"]}
