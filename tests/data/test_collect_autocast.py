"""Collecting in bfloat16: another teacher by the rounding, said so in the manifest, as repeatable as any."""

from __future__ import annotations

from pathlib import Path

import torch

from koopstep.data.collect import CollectSettings, collect, plan
from koopstep.data.rows import make_unit
from koopstep.data.store import Store
from koopstep.teachers.files import read_teacher_file


def test_bfloat16_is_close_recorded_and_repeatable(tmp_path: Path) -> None:
    teacher = read_teacher_file("digits-edm").teacher
    settings = CollectSettings(count=24, steps=4, hold_out=4)
    rough = settings.model_copy(update={"autocast": "bfloat16"})
    exact_states, _ = make_unit(teacher, plan(teacher, settings), 0)
    states, _ = make_unit(teacher, plan(teacher, rough), 0)
    gap = (states[-1] - exact_states[-1]).abs().mean()
    assert 1e-5 < gap < 0.05
    assert torch.equal(states[0], exact_states[0])
    for report in collect(teacher, tmp_path / "store", rough):
        assert report.total == 24
    store = Store.open(tmp_path / "store")
    assert store.manifest.autocast == "bfloat16"
    assert torch.equal(make_unit(teacher, store.manifest, 0)[0][-1], store.batch(torch.arange(24).numpy()).data)
