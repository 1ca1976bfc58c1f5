"""The published checkerboard module, read as data: our student computes what the original does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkerboard_modules
import pytest
import torch
from checkerboard_modules import MODULE, KoopmanDistillModelCheckerBoard, Swish, saved
from torch import nn

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.students.foreign import is_checkerboard_module, read_checkerboard_module
from koopstep.students.student import KoopmanStudent
from koopstep.students.table import build_student


def opened(path: Path) -> KoopmanStudent:
    foreign = read_checkerboard_module(path)
    student = build_student(foreign.config, foreign.facts)
    student.load_state_dict(foreign.tensors)
    return student.eval()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
def test_the_same_outputs(tmp_path: Path, zipped: bool) -> None:
    torch.manual_seed(0)
    original = KoopmanDistillModelCheckerBoard()
    path = tmp_path / "model.pt"
    # torch's first format keeps the source of each class beside it; there is none to find for invented classes
    with pytest.warns(UserWarning, match="retrieve source") if not zipped else _nothing():
        path.write_bytes(saved(original, zipped))
    assert is_checkerboard_module(path)
    student = opened(path)
    noise, data = torch.randn(64, 2), 3 * torch.randn(64, 2)
    with torch.no_grad():
        torch.testing.assert_close(student.generate(noise), original.generate(noise), rtol=1e-5, atol=1e-6)
        read = student.decode(student.encode(data, 1.0))
        torch.testing.assert_close(read, original.reconstruct(data), rtol=1e-5, atol=1e-6)
        moved = student.evolve(student.encode(noise, 0.0), 1.0)[0]
        wanted = original.koopman_operator(original.xT_observables_encoder(noise, 1.0))
        torch.testing.assert_close(moved, wanted, rtol=1e-5, atol=1e-6)
    assert student.facts.noise_scale == 1.0


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_the_published_size(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(KoopmanDistillModelCheckerBoard(256)))
    assert opened(path).parameter_counts()[0] == 858_114


def _drop_operator(module: Any) -> None:
    del module.koopman_operator


def _tanh(module: Any) -> None:
    module.xT_observables_encoder.main[1] = nn.Tanh()


def _no_swish(module: Any) -> None:
    del module.xT_observables_encoder.main[3]


def _swish_at_the_end(module: Any) -> None:
    module.x0_observables_decoder.main.append(Swish())


def _no_bias(module: Any) -> None:
    module.koopman_operator = nn.Linear(16, 16, bias=False)


def _other_size(module: Any) -> None:
    module.koopman_operator = nn.Linear(8, 8)


def _uneven(module: Any) -> None:
    module.x0_observables_encoder.main[2] = nn.Linear(16, 12)


def _nan(module: Any) -> None:
    nn.init.constant_(module.koopman_operator.bias, float("nan"))


def _extra_input(module: Any) -> None:
    module.xT_observables_encoder.main[0] = nn.Linear(4, 16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop_operator, "no koopman_operator"),
        (_tanh, r"torch\.nn\.modules\.activation\.Tanh, which is not on the list"),
        (_no_swish, "not made of linear layers with a Swish after each"),
        (_swish_at_the_end, "not made of linear layers with a Swish after each"),
        (_no_bias, "no linear layer with a bias"),
        (_other_size, "do not fit together"),
        (_uneven, "do not fit together"),
        (_extra_input, "do not fit together"),
        (_nan, "NaN or infinity"),
    ],
)
def test_modules_built_in_another_way(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    module = KoopmanDistillModelCheckerBoard()
    change(module)
    path = tmp_path / "model.pt"
    path.write_bytes(saved(module))
    with pytest.raises(KoopstepError, match=words):
        read_checkerboard_module(path)


def test_another_module_of_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(KoopmanDistillModelCheckerBoard().x0_observables_encoder))
    assert not is_checkerboard_module(path)
    with pytest.raises(UsageError, match="holds no KoopmanDistillModelCheckerBoard"):
        read_checkerboard_module(path)


def test_attributes_with_classes_are_refused_by_name(tmp_path: Path) -> None:
    module = KoopmanDistillModelCheckerBoard()
    module.rec_loss_type = Path  # type: ignore[assignment]
    path = tmp_path / "model.pt"
    path.write_bytes(saved(module))
    with pytest.raises(UsageError, match=r"pathlib\.Path, which is not on the list"):
        read_checkerboard_module(path)


def test_flips_and_cuts(tmp_path: Path) -> None:
    data = saved(KoopmanDistillModelCheckerBoard(4))
    path = tmp_path / "model.pt"
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place])
        with pytest.raises(KoopstepError):
            read_checkerboard_module(path)
    start = data.index(b"models")
    path.write_bytes(data[:start] + b"nodels" + data[start + 6 :])
    with pytest.raises(DamagedError, match="checksum"):
        read_checkerboard_module(path)


def test_the_look_alike_leaves_no_trace() -> None:
    import sys

    with checkerboard_modules.as_published():
        assert MODULE in sys.modules
    assert MODULE not in sys.modules
    assert Swish.__module__ != MODULE
