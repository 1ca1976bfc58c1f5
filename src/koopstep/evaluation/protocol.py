"""The protocol of a measurement: everything that must agree before two numbers may be compared."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import Field

from koopstep.core.config import Config

_PACKAGES = ("koopstep", "torch", "numpy", "scikit-learn")
_NOT_COMPARED = ("software", "student_steps", "student_between")


class Protocol(Config):
    """How a set of metrics was measured.

    Attributes:
        metrics: Names of the metrics, in the order measured.
        count: How many samples were generated.
        noise_seed: Seed of the noise they came from.
        noise_rows: Which noise, in words: "0..9999", or the held-out rows of a store named by its digest.
        reference: Name of the real data, or None when no metric needed any.
        reference_sha256: Digest of the real data, or None.
        reference_count: How many real samples, or None.
        classifier: Name of the classifier, or None when no metric needed one.
        classifier_accuracy: Its accuracy on held-out real data, in [0, 1], or None.
        networks: Feature network -> SHA-256 of its weights.
        preparation: Feature network -> what was done to images before it saw them.
        rounding: What was done to samples before measuring: "none", "clip" (to [-1, 1]) or "uint8" (clipped
            and rounded to 256 levels).
        student_steps: Network evaluations of the student. Recorded, but no bar to comparing: quality against steps.
        student_between: What led from one to the next ("noise" or "path"), None for one. Recorded likewise.
        software: Versions. Recorded, but no bar to comparing.
    """

    metrics: tuple[str, ...]
    count: int
    noise_seed: int
    noise_rows: str
    reference: str | None = None
    reference_sha256: str | None = None
    reference_count: int | None = None
    classifier: str | None = None
    classifier_accuracy: float | None = None
    networks: dict[str, str] = Field(default_factory=dict)
    preparation: dict[str, str] = Field(default_factory=dict)
    rounding: Literal["none", "clip", "uint8"] = "none"
    student_steps: int = 1
    student_between: str | None = None
    software: dict[str, str] = Field(default_factory=dict)


def comparable(a: Protocol, b: Protocol) -> list[str]:
    """Names of the fields in which two protocols differ; empty when their numbers may be compared.

    They come in the order declared. Software versions are not looked at.
    """
    fields = [name for name in Protocol.model_fields if name not in _NOT_COMPARED]
    return [name for name in fields if getattr(a, name) != getattr(b, name)]


def software_versions() -> dict[str, str]:
    """Versions of what a measurement rests on; packages that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
