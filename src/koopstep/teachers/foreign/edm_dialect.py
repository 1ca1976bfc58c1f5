"""EDM's network pickles as data. A module there carries its class's program text; it is hashed and never looked at."""

from __future__ import annotations

import functools
import struct
from typing import Any

from koopstep.core.errors import DamagedError
from koopstep.core.files import sha256_bytes
from koopstep.formats.inert.dialect import PROTOCOL_4, Dialect, Limits
from koopstep.formats.inert.legacy import read_storage
from koopstep.formats.inert.machine import Machine
from koopstep.formats.inert.nesting import check_nesting
from koopstep.formats.inert.steps import run
from koopstep.formats.inert.torch_dialect import ordered_dict, rebuild_parameter, rebuild_tensor
from koopstep.formats.inert.values import Instance, Scalar, Storage

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
_META = {"type", "version", "module_src", "class_name", "state"}
_VERSION = 6
_SCALARS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b", "u1": "<B", "b1": "<?"}


def read_edm_pickle(data: memoryview, where: str) -> Any:
    """The value of the pickle: modules as :class:`Instance` records under the names of their classes.

    Raises:
        DamagedError: it is no such pickle, or damaged.
        UsageError: it asks for a name that such pickles never have.
    """
    limits = Limits()
    machine = Machine(data, 0, _dialect(limits, where), limits, where)
    value = run(machine)
    if machine.position != len(data):
        raise DamagedError(f"{where}: {len(data) - machine.position} bytes left over behind the pickle")
    check_nesting(value, limits.depth, where)
    return value


def _dialect(limits: Limits, where: str) -> Dialect:
    return Dialect(
        name="an EDM network pickle",
        protocols=frozenset({4}),
        opcodes=PROTOCOL_4,
        calls={
            PERSISTENT: functools.partial(_persistent, {}),
            "collections.OrderedDict": ordered_dict,
            "torch._utils._rebuild_parameter": rebuild_parameter,
            "torch._utils._rebuild_tensor_v2": rebuild_tensor,
            "torch.storage._load_from_bytes": functools.partial(_storage, {}, limits, where),
            "numpy.dtype": _number_type,
            "numpy.core.multiarray.scalar": _number,
            "numpy._core.multiarray.scalar": _number,
        },
        classes={
            "torch.nn.modules.container.ModuleDict": functools.partial(Instance, "torch.nn.ModuleDict"),
            "dnnlib.util.EasyDict": ordered_dict,
        },
    )


def _persistent(digests: dict[int, tuple[str, str]], arguments: tuple[Any, ...]) -> Instance:
    """``(meta,)`` with type, version, module_src, class_name and state. One text is hashed once."""
    meta = arguments[0] if len(arguments) == 1 else None
    if not isinstance(meta, dict) or set(meta) != _META:
        raise ValueError("a persistent object without its five facts")
    name, source = meta["class_name"], meta["module_src"]
    if meta["type"] != "class" or type(meta["version"]) is not int or meta["version"] != _VERSION:
        raise ValueError(f"a persistent object of another version than {_VERSION}")
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 128 or not isinstance(source, str):
        raise ValueError("a persistent object without a class")
    _, digest = digests.setdefault(id(source), (source, ""))  # the text is kept, so its id stays its own
    if not digest:
        digest = sha256_bytes(source.encode())
        digests[id(source)] = (source, digest)
    return Instance(name, state=meta["state"], source_sha256=digest)


def _storage(
    known: dict[int, tuple[memoryview, Storage]], limits: Limits, where: str, arguments: tuple[Any, ...]
) -> Storage:
    """``(bytes,)``: a file of its own, in torch's first format. The same bytes, referred to again, are the same storage."""
    if len(arguments) != 1 or not isinstance(arguments[0], memoryview):
        raise ValueError("a storage that is no bytes")
    content = arguments[0]
    if id(content) not in known:  # the bytes are kept, so their id stays their own
        known[id(content)] = content, read_storage(content, limits, f"{where} (a storage inside it)")
    return known[id(content)][1]


def _number_type(arguments: tuple[Any, ...]) -> Scalar:
    if not arguments or not isinstance(arguments[0], str) or arguments[0] not in _SCALARS:
        raise ValueError("a number type that is none of the plain ones")
    return Scalar(arguments[0])


def _number(arguments: tuple[Any, ...]) -> Any:
    """``(dtype, bytes)``: one number."""
    if len(arguments) != 2 or not isinstance(arguments[0], Scalar) or not isinstance(arguments[1], memoryview):
        raise ValueError("a number without its type and bytes")
    form = _SCALARS[arguments[0].code]
    if struct.calcsize(form) != len(arguments[1]):
        raise ValueError("a number of another size than its type")
    return struct.unpack(form, arguments[1])[0]
