"""Teachers whose path a solver follows: given as a denoiser in sigma, or as a velocity in t."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from koopstep.core.arguments import checked
from koopstep.core.devices import torch_device
from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.levels import flow_times
from koopstep.core.noise import gaussian
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.core.user_code import said
from koopstep.teachers.base import Teacher
from koopstep.teachers.solvers import DENOISER_SOLVERS, VELOCITY_SOLVERS

Function = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``fn(x, level, class_labels)``: (B, *shape), (B,), (B,) int64 or None -> (B, *shape)."""

_PROBED_ROWS = 8
_ASSUMED_SCALE = 0.5  # EDM's, of images in [-1, 1]
_OF_DEVICES = ("same device", "on the same GPU")  # how torch complains of tensors in two places
_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_OF_NUMBER_FORMATS = ("dtype", "scalar type", "Input type")  # how torch complains of mixed ones


class _FunctionTeacher(Teacher):
    """What both kinds share: the facts, and calling the function with a level a row.

    Raises:
        UsageError: if a fact cannot be.
    """

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        num_classes: int,
        data_scale: float | None,
        data_range: DataRange | None,
        dtype: torch.dtype,
        device: torch.device | str | None,
        name: str,
        sha256: str,
    ) -> None:
        self.shape, self.num_classes = _checked_shape(shape), num_classes
        if num_classes < 0:
            raise UsageError(f"num_classes must be 0 (no classes) or more, got {num_classes}")
        self.data_range = _checked_range(data_range)
        self.data_scale = assumed_scale(self.shape, self.data_range) if data_scale is None else float(data_scale)
        if not 0 < self.data_scale < float("inf"):
            raise UsageError(f"data_scale is a standard deviation and must be above 0, got {data_scale}")
        self.name, self.sha256 = name, sha256
        self.model = module_of(fn)
        self._fn, self._dtype = fn, dtype
        self._device = None if device is None else torch_device(device)

    def _field(self, class_labels: Tensor | None) -> Callable[[Tensor, float], Tensor]:
        def field(x: Tensor, level: float) -> Tensor:
            levels = torch.full((len(x),), level, dtype=self._dtype, device=x.device)
            return call(self._fn, self._dtype, x, levels, class_labels).to(torch.float64)

        return field


def module_of(fn: Any) -> nn.Module | None:
    """The PyTorch module that ``fn`` is, or whose method it is."""
    if isinstance(fn, functools.partial):
        return module_of(fn.func)
    owner = getattr(fn, "__self__", fn)
    return owner if isinstance(owner, nn.Module) else None


@contextlib.contextmanager
def evaluating(module: nn.Module | None) -> Iterator[None]:
    """Within, ``module`` is in eval mode, as sampling needs it; each of its parts is then what it was."""
    training = [] if module is None else [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else ()
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UsageError(f"shape is that of one sample, whole numbers above 0 as in (3, 32, 32) or (2,), got {shape!r}")
    return sizes


def _checked_range(data_range: DataRange | None) -> DataRange | None:
    if data_range is None:
        return None
    try:
        ends = tuple(float(end) for end in data_range)
    except (TypeError, ValueError):
        ends = ()
    if len(ends) != 2 or not -float("inf") < ends[0] < ends[1] < float("inf"):
        raise UsageError(
            f"data_range is what black and white are, as in (-1, 1), or None of data that are no images, got {data_range}"
        )
    return ends


def assumed_scale(shape: tuple[int, ...], data_range: DataRange | None) -> float:
    """0.5 as EDM has it for images in [-1, 1], and as much of any other range; collecting says so where it is wrong."""
    if data_range is None or len(shape) != 3:
        return _ASSUMED_SCALE
    low, high = data_range
    return _ASSUMED_SCALE * (high - low) / 2


def call(fn: Function, dtype: torch.dtype, x: Tensor, levels: Tensor, class_labels: Tensor | None) -> Tensor:
    """What ``fn`` returns for ``x`` (B, *shape), which it is given as ``dtype``.

    Raises:
        UsageError: it fails, takes another number format, or returns anything but such a floating point tensor.
    """
    if not dtype.is_floating_point:
        raise UsageError(f"dtype must be a floating point one, such as torch.float32, got {dtype}")
    try:
        with evaluating(module_of(fn)):
            value = fn(x.to(dtype, copy=True), levels, class_labels)  # which may write into what it is given
    except (KoopstepError, MemoryError):
        raise
    except Exception as error:
        words = _in_words(error, dtype, x.device)
        if words is None:  # a full memory
            raise
        raise UsageError(f"the teacher's function {words}") from error
    if not isinstance(value, Tensor):
        raise UsageError(f"the teacher's function must return a tensor, got {type(value).__name__}")
    if value.shape != x.shape:
        raise UsageError(f"the teacher's function must return shape {tuple(x.shape)}, got {tuple(value.shape)}")
    if not value.is_floating_point():
        raise UsageError(f"the teacher's function must return floating point numbers, got {value.dtype}")
    if value.device != x.device:
        raise UsageError(f"the teacher's function was given a tensor on {x.device} and returned one on {value.device}")
    return value


def _in_words(error: Exception, dtype: torch.dtype, device: torch.device) -> str | None:
    """What went wrong in a function, and what to do; None of a full memory, which has its own words."""
    text = " ".join(str(error).split())
    if any(words in text.lower() for words in _OF_MEMORY):
        return None
    if isinstance(error, RuntimeError) and any(words in text for words in _OF_DEVICES):
        return (
            f"was given tensors on {device} and computes elsewhere ({text[:160]}); say where with device=, as in "
            "from_denoiser(fn, shape, device='cuda')"
        )
    if isinstance(error, RuntimeError) and any(words in text for words in _OF_NUMBER_FORMATS):
        return (
            f"does not take {dtype} ({text[:160]}); name its own with dtype=, as in "
            "from_denoiser(fn, shape, dtype=torch.float64)"
        )
    return f"failed: {said(error)}; it is called as fn(x, level, class_labels): x (B, *shape), level (B,), labels (B,) or None"


class DenoiserTeacher(_FunctionTeacher):
    """A teacher that is given as a denoiser ``D(x, sigma)``; solved in sigma as EDM does.

    ``sigmas`` maps steps to the levels of a path; ``levels_are`` says in a word which ones they are, where the same solver
    may take others. ``noise_scale`` is the first of them unless another is given.
    """

    kind = "denoiser"

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        *,
        sigmas: Callable[[int], Tensor],
        levels_are: str = "",
        noise_scale: float | None = None,
        num_classes: int = 0,
        data_scale: float | None = None,
        data_range: DataRange | None = PLAIN,
        dtype: torch.dtype = torch.float32,
        solver: str = "heun",
        device: torch.device | str | None = None,
        kind: str = "denoiser",
        name: str = "function",
        sha256: str = "",
    ) -> None:
        super().__init__(fn, shape, num_classes, data_scale, data_range, dtype, device, name, sha256)
        self._solve, self._count = DENOISER_SOLVERS[_known_solver(solver, sorted(DENOISER_SOLVERS))]
        self.kind, self.solver = kind, f"{solver} {levels_are}".rstrip()
        self._sigmas = sigmas
        self.noise_scale = float(sigmas(1)[0]) if noise_scale is None else noise_scale

    @checked
    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(self._sigmas(steps).tolist())

    @checked
    def evaluations(self, steps: int) -> int:
        return self._count(steps)

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.to(torch.float64) * self.noise_scale
        return self._solve(self._field(class_labels), start, list(self.levels(steps)))


class VelocityTeacher(_FunctionTeacher):
    """A teacher that is given as a velocity ``v(x, t)`` from noise (t = 0) to data (t = 1).

    :meth:`path` follows the velocity from wherever it is started: of a stochastic interpolant between two data sets, give
    it rows of the first. Only what addresses noise by (seed, index), as ``collect`` does, presumes a Gaussian start.
    """

    noise_scale = 1.0

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        *,
        num_classes: int = 0,
        data_scale: float | None = None,
        data_range: DataRange | None = PLAIN,
        dtype: torch.dtype = torch.float32,
        solver: str = "euler",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        device: torch.device | str | None = None,
        kind: str = "velocity",
        name: str = "function",
        sha256: str = "",
    ) -> None:
        super().__init__(fn, shape, num_classes, data_scale, data_range, dtype, device, name, sha256)
        self.kind, self.solver = kind, _known_solver(solver, sorted(VELOCITY_SOLVERS))
        self._solve, self._count = VELOCITY_SOLVERS[solver]
        if self._count is None:  # adaptive: its tolerances decide what comes out
            self.solver = f"{solver} rtol={rtol:g} atol={atol:g}"
            self._solve = partial(self._solve, rtol=rtol, atol=atol)

    @checked
    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(flow_times(steps).tolist())

    @checked
    def evaluations(self, steps: int) -> int:
        """How often :meth:`path` calls the network (NFE); of an adaptive solver, how often it did for eight fixed rows."""
        return self._measured if self._count is None else self._count(steps)

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.to(torch.float64)
        return self._solve(self._field(class_labels), start, list(self.levels(steps)))

    @cached_property
    def _measured(self) -> int:
        device = self.device or torch.device("cpu")
        noise = gaussian(0, range(_PROBED_ROWS), self.shape).to(device)
        labels = torch.arange(_PROBED_ROWS, device=device) % self.num_classes if self.num_classes else None
        field, calls = self._field(labels), 0

        def counted(x: Tensor, level: float) -> Tensor:
            nonlocal calls
            calls += 1
            return field(x, level)

        with torch.no_grad():
            for _ in self._solve(counted, noise.to(torch.float64), [0.0, 1.0]):
                pass
        return calls


def _known_solver(solver: str, known: list[str]) -> str:
    if solver not in known:
        raise UsageError(f"unknown solver {solver!r}; known: {', '.join(known)}")
    return solver
