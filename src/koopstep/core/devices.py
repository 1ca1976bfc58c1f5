"""Where tensors live and which process this is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed

from koopstep.core.arguments import AnyDevice
from koopstep.core.environment import device_name, launched
from koopstep.core.errors import UsageError


@dataclass(frozen=True)
class Place:
    """The device of this process and its place among the processes of one job."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """True for the one process that writes files and speaks."""
        return self.rank == 0


def choose_device(name: AnyDevice | None = None) -> torch.device:
    """Return the device called ``name`` (or ``$KOOPSTEP_DEVICE``); without a name CUDA where present, else the CPU.

    Raises:
        UsageError: if the named device does not exist here.
    """
    name = name or device_name() or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch_device(name)
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"koopstep runs on cpu and cuda, not on {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} was asked for, but PyTorch sees {torch.cuda.device_count()} CUDA devices")
    return device


def torch_device(name: AnyDevice) -> torch.device:
    """PyTorch's object of a device.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device called {name!r}; use cpu, cuda or cuda:N") from error


def prepare(name: AnyDevice | None = None) -> Place:
    """Set this process up for numerical work: device, denormals, and (under ``torchrun``) the process group.

    Denormals are flushed because a converged training loop on a CPU slows down several times without it.
    """
    torch.set_flush_denormal(True)
    process = launched()
    rank, world = process.rank, process.world
    device = choose_device(name)
    if world > 1 and not torch.distributed.is_initialized():
        if device.type == "cuda":
            device = torch.device("cuda", process.local_rank)
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Place(device, rank, world)


def flushes_denormals() -> bool:
    """Whether this process takes the smallest floating-point numbers for zero; PyTorch sets that, but does not tell."""
    smallest = torch.tensor([1], dtype=torch.int32).view(torch.float32)  # 1.4e-45
    return bool((smallest * 1.0).view(torch.int32) == 0)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, what draws without a generator (fresh weights, dropout) draws from ``seed``; the caller's state is given back.

    Args:
        seed: of the CPU's generator and of the device's.
        device: where is drawn.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def barrier(place: Place) -> None:
    """Wait for all processes; nothing when there is one."""
    if place.world > 1:
        torch.distributed.barrier()


def sum_over_processes(place: Place, tensors: list[torch.Tensor]) -> None:
    """Add each tensor over all processes, in place, in one message per dtype."""
    if place.world == 1:
        return
    # sorted: every process must send the dtypes in the same order
    for dtype in sorted({t.dtype for t in tensors}, key=str):
        group = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in group])
        torch.distributed.all_reduce(flat)
        for target, part in zip(group, torch.split(flat, [t.numel() for t in group]), strict=True):
            target.copy_(part.view_as(target))
