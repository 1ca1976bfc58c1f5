from __future__ import annotations

import json

import pytest
import torch

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.evaluation.protocol import Protocol, comparable, software_versions

OTHER = {
    "metrics": ("mmd",),
    "count": 99,
    "noise_seed": 1,
    "noise_rows": "100..198",
    "reference": "other",
    "reference_sha256": "cd",
    "reference_count": 9,
    "classifier": "other",
    "classifier_accuracy": 0.5,
    "networks": {"inception-768": "ab"},
    "preparation": {"inception-768": "other"},
    "rounding": "uint8",
    "student_steps": 2,
    "student_between": "path",
    "software": {"torch": "0"},
}


def protocol() -> Protocol:
    return Protocol(
        metrics=("pair_mse", "frechet_pixel"),
        count=2000,
        noise_seed=0,
        noise_rows="0..1999",
        reference="digits",
        reference_sha256="ab",
        reference_count=1797,
        classifier="svc",
        classifier_accuracy=0.9887,
        software=software_versions(),
    )


def test_every_field_but_versions_and_steps_is_compared() -> None:
    assert comparable(protocol(), protocol()) == []
    assert set(OTHER) == set(Protocol.model_fields)
    for name, value in OTHER.items():
        changed = protocol().model_copy(update={name: value})
        assert comparable(protocol(), changed) == (
            [] if name in ("software", "student_steps", "student_between") else [name]
        )


def test_it_survives_json() -> None:
    assert Protocol.parse(json.loads(json.dumps(dump(protocol()))), "protocol") == protocol()
    with pytest.raises(UsageError, match="rounding"):
        Protocol.parse({**dump(protocol()), "rounding": "nearest"}, "protocol")


def test_software_versions_name_what_counts() -> None:
    versions = software_versions()
    assert versions["torch"] == torch.__version__
    assert "python" in versions and "numpy" in versions
