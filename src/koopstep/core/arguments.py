"""What callers may give: checked once, refused in one line that names the argument."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.explain import short

AnyPath = str | os.PathLike[str]
"""A path as text or object; a `Run` and a `Store` are paths to their folders."""

AnyDevice = str | torch.device
"""``cpu``, ``cuda`` or ``cuda:N``, or PyTorch's object of it."""

P = ParamSpec("P")
R = TypeVar("R")

Numbers = Tensor | Sequence[Any]
"""What `as_tensor` takes: a tensor, an array, or (nested) lists of numbers."""

_CALLED: dict[Any, str] = {
    str: "text",
    int: "a whole number below 2**63",
    float: "a finite number",
    bool: "True or False",
}
_CALLED |= {NoneType: "None", Mapping: "a mapping", Callable: "a function", os.PathLike: "a path"}
_CALLED |= {Tensor: "a tensor (torch.from_numpy makes one of an array)"}
_CALLED |= dict.fromkeys((Sequence, Iterable, list, tuple), "a list")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a public function: an argument that its type hint does not allow is a UsageError that names it."""
    return _checking(function, ())


def checked_but(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """As `checked`, without the arguments of these names, for which the function has better words."""
    return lambda function: _checking(function, names)


def _checking(function: Callable[P, R], left_out: tuple[str, ...]) -> Callable[P, R]:
    parameters = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:  # resolved with the first call: names may be defined below the function
        found = {name: _resolved(hint, function) for name, hint in inspect.get_annotations(function).items()}
        return {name: hint for name, hint in found.items() if name not in (*left_out, "return")}

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        for name, value in parameters.bind(*args, **options).arguments.items():
            hint = hints().get(name, Any)
            if not _fits(value, hint):
                raise UsageError(f"{name} must be {_wanted(hint)}, got {_got(value)}")
        return function(*args, **options)

    return call


def _resolved(hint: Any, function: Callable[..., Any]) -> Any:
    """What a hint names; Any where that is imported for type checking only."""
    names = getattr(function, "__globals__", {})
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": hint}), names)["it"]
    except NameError:
        return Any


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a hint says; what is not known here fits."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if kind is str or kind is os.PathLike:
        return isinstance(value, kind) and "\0" not in str(value)
    if kind is int or kind is float:
        return _is_number(value, whole=kind is int)
    if kind is bool:
        return type(value).__name__ in ("bool", "bool_")  # Python's and NumPy's
    if kind is tuple and inner:
        rest = inner[:1] * len(value) if isinstance(value, tuple | list) and inner[-1] is ... else inner
        return isinstance(value, tuple | list) and len(value) == len(rest) and all(map(_fits, value, rest))
    if kind in (Sequence, Iterable) and inner:
        return _is_list(value, kind) and (not hasattr(value, "__len__") or all(_fits(one, inner[0]) for one in value))
    if kind is Callable:
        return callable(value)
    return not isinstance(kind, type) or getattr(kind, "_is_protocol", False) or isinstance(value, kind)


def _is_number(value: Any, *, whole: bool) -> bool:
    if isinstance(value, numbers.Integral):
        return not isinstance(value, bool) and abs(int(value)) < 1 << 63
    if isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point():
        value = float(value)
    return not whole and isinstance(value, numbers.Real) and math.isfinite(value)


def _is_list(value: Any, kind: Any) -> bool:
    indexed = kind is Iterable or (hasattr(value, "__getitem__") and getattr(value, "ndim", 1) > 0)
    return indexed and hasattr(value, "__iter__") and not isinstance(value, Mapping | bytes | Tensor)


def _wanted(hint: Any) -> str:
    """A hint in words."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        paths = any(get_origin(one) is os.PathLike for one in inner)  # then text is a path, too
        return " or ".join(dict.fromkeys(_wanted(one) for one in inner if not (paths and one is str)))
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is tuple and inner and inner[-1] is not ...:
        return f"a tuple of {len(inner)} ({', '.join(map(_wanted, inner))})"
    each = inner[0] if len(inner) == 1 or inner[1:] == (...,) else Any
    if kind in (Sequence, Iterable, list, tuple) and each in _CALLED:
        return f"a list, each of it {_CALLED[each]}"
    return _CALLED.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def _got(value: Any) -> str:
    if isinstance(value, str) and "\0" in value:
        return f"{short(value)}, which holds a null character"
    if isinstance(value, type) or not hasattr(value, "shape"):
        try:
            return " ".join(short(value).split())
        except Exception:  # its repr fails: an integer of thousands of digits, a caller's own class
            return f"a {type(value).__name__}"
    return f"a {type(value).__name__} of shape {tuple(value.shape)}"


def as_tensor(value: Any, name: str) -> Tensor:
    """Numbers in any form as a finite floating-point tensor; float64 unless they are of another precision.

    Raises:
        UsageError: if they are none.
    """
    try:
        found = value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value, order="C"))
        found = found if found.is_floating_point() else found.to(torch.float64)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"{name} must be numbers: a tensor, an array or lists of them, got {_got(value)}") from error
    if found.is_complex() or not found.numel() or not bool(torch.isfinite(found).all()):
        raise UsageError(f"{name} must be finite real numbers, at least one, got {_got(value)}")
    return found


def checked_points(u: Any, name: str) -> Tensor:
    """``u`` as a tensor (N,) of numbers from 0 to 1; one number is one point.

    Raises:
        UsageError: if it is none.
    """
    points = as_tensor(u, name)
    if points.ndim > 1 or bool(((points < 0) | (points > 1)).any()):
        raise UsageError(f"{name} is progress along the path, numbers from 0 (noise) to 1 (data), got {u!r}")
    return points.reshape(-1)


def check_memory(count: int, shape: tuple[int, ...], name: str) -> None:
    """Refuse so many samples of a shape that float32 numbers of them cannot fit into this machine's memory.

    Raises:
        UsageError: then.
    """
    needed = 4 * count * math.prod(shape)
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # a system that does not say
        there = 1 << 40
    if needed > there:
        raise UsageError(
            f"{name} must be what fits into memory: {short(count)} samples of shape {shape} are {needed >> 30:,} GiB, there "
            f"are {there >> 30:,} GiB; ask for fewer at a time, with another seed each"
        )


def whole_number(value: Any, name: str, *, least: int = 0, most: int | None = None) -> int:
    """``value`` as an int.

    Raises:
        UsageError: if it is no whole number (True and 2.0 are none), or is out of range.
    """
    wanted = f"from {least} to {most}" if most is not None else f"{least} or more"
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise UsageError(f"{name} must be a whole number, {wanted}, got {value!r}")
    if number < least or (most is not None and number > most):
        raise UsageError(f"{name} must be {wanted}, got {number}")
    return number


def checked_seed(value: Any) -> int:
    """``value`` as a seed: a whole number from 0 to 2**63 - 1.

    Raises:
        UsageError: if it is none.
    """
    return whole_number(value, "seed", most=(1 << 63) - 1)


def checked_rows(value: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """``value`` as rows of samples: a finite float32 tensor (B, *shape).

    Raises:
        UsageError: if it is anything else; nothing is converted unasked, because it would hide a mistake.
    """
    wanted = f"a float32 tensor of shape (B, {', '.join(map(str, shape))})"
    if not isinstance(value, Tensor):
        advice = "; torch.from_numpy(...).float() makes one" if type(value).__name__ == "ndarray" else ""
        raise UsageError(f"{name} must be {wanted}, got {type(value).__name__}{advice}")
    if value.dtype != torch.float32:
        raise UsageError(f"{name} must be {wanted}, got {value.dtype}; call .float() on it")
    if tuple(value.shape) == shape:
        raise UsageError(
            f"{name} must be {wanted}, got one sample of shape {shape}; write {name}[None] for a batch of one"
        )
    if tuple(value.shape[1:]) != shape or value.ndim != len(shape) + 1:
        raise UsageError(f"{name} must be {wanted}, got shape {tuple(value.shape)}")
    if not len(value):
        raise UsageError(f"{name} must be {wanted}, got no rows")
    if not bool(torch.isfinite(value).all()):
        raise UsageError(f"{name} holds NaN or infinity")
    return value
