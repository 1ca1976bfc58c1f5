"""Devices, denormals, and what one process does alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
import torch

from koopstep.core.devices import Place, barrier, choose_device, prepare, seeded, sum_over_processes
from koopstep.core.errors import UsageError


def test_a_place_leads_or_follows() -> None:
    assert Place(torch.device("cpu")).leads
    assert not Place(torch.device("cpu"), rank=1, world=2).leads


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("KOOPSTEP_DEVICE", "cpu")
    assert choose_device() == torch.device("cpu")
    with pytest.raises(UsageError, match="no device called 'gpu'"):
        choose_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_an_accelerator_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOOPSTEP_DEVICE", raising=False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(UsageError, match="'cuda' was asked for"):
        choose_device("cuda")


def test_one_process_waits_for_nobody() -> None:
    place, value = Place(torch.device("cpu")), torch.ones(3)
    barrier(place)
    sum_over_processes(place, [value])
    assert torch.equal(value, torch.ones(3))


def test_prepare_flushes_denormals_in_every_thread(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """A converged training loop slows down several times where they are kept."""
    script = (
        "import torch\n"
        "from koopstep.core.devices import prepare\n"
        "assert float(torch.full((4,), 1e-30)[0] * torch.tensor(1e-10)) > 0, 'no denormals here'\n"
        "torch.set_num_threads(2)\n"
        "place = prepare('cpu')\n"
        "assert (place.rank, place.world, place.leads) == (0, 1, True)\n"
        "tiny = torch.full((1 << 20,), 1e-30) * 1e-10\n"
        "print(int((tiny != 0).sum()))\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


def test_prepare_takes_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    try:
        assert prepare("cpu") == Place(torch.device("cpu"))
    finally:
        torch.set_flush_denormal(False)


def test_what_is_asked_for_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("KOOPSTEP_DEVICE", "cuda:0")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="'cuda:0'"):
        choose_device()


def test_sums_go_back_where_they_came_from_one_message_a_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[torch.dtype] = []

    def triple(flat: torch.Tensor) -> None:  # three processes with equal tensors
        sent.append(flat.dtype)
        flat.mul_(3)

    monkeypatch.setattr(torch.distributed, "all_reduce", triple)
    tensors = [
        torch.arange(6.0).reshape(2, 3),
        torch.ones((), dtype=torch.float64),
        torch.arange(6.0).reshape(3, 2).T,  # not contiguous
        torch.full((2,), 0.5, dtype=torch.float64),
    ]
    before = [tensor.clone() for tensor in tensors]
    sum_over_processes(Place(torch.device("cpu"), 1, 3), tensors)
    for tensor, old in zip(tensors, before, strict=True):
        assert torch.equal(tensor, 3 * old)
    assert sent == [torch.float32, torch.float64]


def test_seeded_draws_are_those_of_the_seed_and_leave_no_trace() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.rand(4), wanted)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError), seeded(3, torch.device("cpu")):
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), before)
