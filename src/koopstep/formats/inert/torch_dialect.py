"""What torch's files may contain: state dicts, and modules of named classes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from koopstep.formats.inert.dialect import PROTOCOL_2, PROTOCOL_4, Dialect
from koopstep.formats.inert.values import STORAGES, Instance, TensorRecord, tensor_record


def rebuild_tensor(arguments: tuple[Any, ...]) -> TensorRecord:
    """``(storage, offset, size, stride, ...)``; what follows (gradients, hooks) is left out.

    Raises:
        ValueError: these are no such arguments.
    """
    if not 4 <= len(arguments) <= 7:
        raise ValueError("a tensor with too few or too many arguments")
    return tensor_record(*arguments[:4])


def rebuild_parameter(arguments: tuple[Any, ...]) -> TensorRecord:
    """``(tensor, requires_grad, hooks)``: the tensor.

    Raises:
        ValueError: the first is no tensor.
    """
    if not arguments or not isinstance(arguments[0], TensorRecord):
        raise ValueError("a parameter that is no tensor")
    return arguments[0]


def ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An empty dict, whose items follow by opcodes; or, from Python 2, one with the items in a list of pairs.

    Raises:
        ValueError: something else.
    """
    items = arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or not isinstance(items, list):
        raise ValueError("an ordered dict of what is no list")
    if any(not isinstance(item, list | tuple) or len(item) != 2 or type(item[0]) is not str for item in items):
        raise ValueError("an ordered dict whose items are no pairs of a text and a value")
    return {item[0]: item[1] for item in items}


def plain_set(arguments: tuple[Any, ...]) -> set[Any]:
    """A set of the texts in a list.

    Raises:
        ValueError: something else.
    """
    members = arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or not isinstance(members, list) or any(type(item) is not str for item in members):
        raise ValueError("a set that does not hold texts")
    return set(members)


def size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """``torch.Size``: the tuple in it.

    Raises:
        ValueError: there is none.
    """
    if len(arguments) != 1 or not isinstance(arguments[0], tuple):
        raise ValueError("a size that is no tuple")
    return arguments[0]


STORAGE_ONLY = Dialect(
    name="a torch storage",
    protocols=frozenset({2}),
    opcodes=PROTOCOL_2 - frozenset(b"\x81Rb"),
    tags=frozenset(STORAGES),
)
"""The storages inside other pickles: nothing can be called."""

STATE_DICT = Dialect(
    name="a torch file of tensors",
    protocols=frozenset({2, 3, 4, 5}),
    opcodes=PROTOCOL_2 | PROTOCOL_4,
    calls={
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "collections.OrderedDict": ordered_dict,
        "torch.Size": size,
    },
    tags=frozenset(STORAGES),
)
"""State dicts, alone or in a dict with plain numbers and texts."""


def modules(name: str, classes: Iterable[str]) -> Dialect:
    """:data:`STATE_DICT` and whole modules of ``classes``, which become :class:`Instance` records.

    Args:
        name: what messages call such a file.
        classes: full names, such as ``torch.nn.modules.linear.Linear``.
    """
    sets = {"__builtin__.set": plain_set, "builtins.set": plain_set}
    return Dialect(
        name=name,
        protocols=STATE_DICT.protocols,
        opcodes=STATE_DICT.opcodes,
        calls={**STATE_DICT.calls, **sets},
        classes={full: functools.partial(Instance, full) for full in classes},
        tags=STATE_DICT.tags,
    )
