"""Hand-made hostile pickles: each a name and bytes. Loaded by Python's own unpickler most would act; here none may."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator

import torch

MARKER = "koopstep_hostile_marker"


def call(module: str, name: str, *arguments: str) -> bytes:
    """A protocol 4 pickle that calls ``module.name(*arguments)``."""
    body = b"".join(short(text) for text in (module, name)) + b"\x93"
    return b"\x80\x04" + body + b"(" + b"".join(short(text) for text in arguments) + b"tR."


def call_2(module: str, name: str, *arguments: str) -> bytes:
    """The same with the GLOBAL opcode of protocol 2."""
    texts = b"".join(long(text) for text in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + texts + b"tR."


def short(text: str) -> bytes:
    data = text.encode()
    return b"\x8c" + bytes([len(data)]) + data


def long(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def symbol(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def persistent(meta: bytes) -> bytes:
    """A call of EDM's own function on a meta dict."""
    return symbol("torch_utils.persistence", "_reconstruct_persistent_obj") + meta + b"\x85R"


def meta(source: str, name: str = "EDMPrecond", state: bytes = b"}", version: bytes = b"K\x06") -> bytes:
    return (
        b"}("
        + (short("type") + short("class") + short("version") + version + short("module_src") + long(source))
        + (short("class_name") + short(name) + short("state") + state)
        + b"u"
    )


def legacy_storage(numel: int = 4, announced: int | None = None) -> bytes:
    """A float storage in torch's first format, perhaps announcing more than it has."""
    buffer = io.BytesIO()
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(numel).untyped_storage(), dtype=torch.float32, _internal=True
    )
    torch.save(storage, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    if announced is not None:
        head = len(data) - numel * 4 - 8
        data = data[:head] + struct.pack("<q", announced) + data[head + 8 :]
    return data


def nested(data: bytes) -> bytes:
    """A call of torch.storage._load_from_bytes."""
    return symbol("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(data)) + data + b"\x85R"


def tensor(storage: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    made = symbol("torch._utils", "_rebuild_tensor_v2")
    odict = symbol("collections", "OrderedDict") + b")R"
    return made + b"(" + storage + offset + size + stride + b"\x89" + odict + b"tR"


def four(body: bytes) -> bytes:
    return b"\x80\x04\x95" + struct.pack("<Q", len(body) + 1) + body + b"."


def number(value: int) -> bytes:
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


class _Shell:
    def __reduce__(self) -> object:
        import os

        return os.system, (f"touch {MARKER}",)


class _Reader:
    def __reduce__(self) -> object:
        return open, (MARKER, "w")


def edm_files() -> Iterator[tuple[str, bytes]]:
    """Against the reader of EDM pickles."""
    yield "os.system", call("os", "system", f"touch {MARKER}")
    yield "posix.system", call("posix", "system", f"touch {MARKER}")
    yield "builtins.exec", call("builtins", "exec", f"import os; os.mkdir('{MARKER}')")
    yield "builtins.eval", call("builtins", "eval", f"__import__('os').mkdir('{MARKER}')")
    yield "builtins.open", call("builtins", "open", MARKER, "w")
    yield "builtins.getattr", call("builtins", "getattr", "a", "b")
    yield "builtins.compile", call("builtins", "compile", "1", "f", "eval")
    yield "__import__", call("builtins", "__import__", "os")
    yield "importlib", call("importlib", "import_module", "os")
    yield "runpy", call("runpy", "run_path", MARKER)
    yield "subprocess", call("subprocess", "check_output", "true")
    yield "socket", call("socket", "create_connection", "a")
    yield "torch.load", call("torch", "load", MARKER)
    yield "torch.hub", call("torch.hub", "load", "a", "b")
    yield "torch.jit", call("torch.jit", "load", MARKER)
    yield "numpy.load", call("numpy", "load", MARKER)
    yield "numpy.testing runstring", call("numpy.testing._private.utils", "runstring", "1", "{}")
    yield "code.InteractiveInterpreter", call("code", "InteractiveInterpreter")
    yield "operator.attrgetter", call("operator", "attrgetter", "__class__")
    yield "functools.partial", call("functools", "partial", "os")
    yield "dotted name in a known module", call("collections", "OrderedDict.__class__", "a")
    yield "dunder of a known module", call("torch._utils", "__builtins__", "a")
    yield "known function of another module", call("os", "_rebuild_tensor_v2", "a")
    yield "really pickled shell", pickle.dumps(_Shell(), protocol=4)
    yield "really pickled open", pickle.dumps(_Reader(), protocol=4)
    yield "protocol 0 shell", b"cos\nsystem\n(S'true'\ntR."
    yield "protocol 2 shell", call_2("os", "system", "true")
    yield "INST", b"\x80\x04(S'true'\nios\nsystem\n."
    yield "OBJ", b"\x80\x04(cos\nsystem\nS'true'\no."
    yield "GLOBAL in protocol 4", b"\x80\x04cos\nsystem\n(tR."
    yield "EXT1", b"\x80\x04\x82\x01."
    yield "EXT4", b"\x80\x04\x84\x01\x00\x00\x00."
    yield "NEWOBJ_EX", b"\x80\x04" + symbol("collections", "OrderedDict") + b")}\x92."
    yield "PERSID", b"\x80\x04Pid\n."
    yield "BINPERSID", b"\x80\x04K\x01Q."
    yield "NEXT_BUFFER", b"\x80\x05\x97."
    yield "UNICODE escape", b"\x80\x04V\\u0041\n."
    yield "STRING with an escape", b"\x80\x04S'\\x41'\n."
    yield "evil module source", four(persistent(meta(f"import os\nos.mkdir('{MARKER}')\nclass EDMPrecond: pass")))
    yield "class name that is code", four(persistent(meta("", "x; import os")))
    yield "persistent of another version", four(persistent(meta("", version=b"K\x05")))
    yield "persistent object of a number", four(persistent(b"K\x01"))
    yield "nested shell", four(nested(call_2("os", "system", f"touch {MARKER}")))
    yield "nested shell as the object", four(nested(legacy_storage()[:100] + call_2("os", "system", "true")))
    yield "nested zip file", four(nested(zip_file({"archive/data.pkl": call_2("os", "system", "true")})))
    yield "nested in nested", four(nested(legacy_storage().replace(b"FloatStorage", b"_load_from_b", 1)))
    yield "nested of the wrong type", four(symbol("torch.storage", "_load_from_bytes") + short("text") + b"\x85R")
    yield "a call of what is no name", four(b"K\x01K\x02\x85R")
    yield "a state for a number", four(b"K\x01}b")
    yield "NEWOBJ of a function", four(symbol("torch.storage", "_load_from_bytes") + b")\x81")
    yield "REDUCE of a class", four(symbol("torch.nn.modules.container", "ModuleDict") + b")R")
    yield "tensor without a storage", four(tensor(b"K\x01", b"K\x00", b"K\x04\x85", b"K\x01\x85"))
    for name, offset, size, stride in (
        ("beyond its end", b"K\x00", b"K\x05\x85", b"K\x01\x85"),
        ("from beyond its end", b"K\x04", b"K\x01\x85", b"K\x01\x85"),
        ("from before its start", number(-1), b"K\x01\x85", b"K\x01\x85"),
        ("strides beyond its end", b"K\x00", b"K\x02\x85", b"K\x04\x85"),
        ("negative stride", b"K\x03", b"K\x02\x85", number(-1) + b"\x85"),
        ("numbers counted twice", b"K\x00", b"K\x05K\x05\x86", b"K\x00K\x00\x86"),
        ("overflowing size", b"K\x00", number(1 << 32) + number(1 << 32) + b"\x86", b"K\x00K\x00\x86"),
        ("size that is a truth value", b"K\x00", b"\x88\x85", b"K\x01\x85"),
        ("size and stride of unlike length", b"K\x00", b"K\x01\x85", b"K\x01K\x01\x86"),
        ("a hundred axes", b"K\x00", b"(" + b"K\x01" * 100 + b"t", b"(" + b"K\x01" * 100 + b"t"),
    ):
        yield f"tensor {name}", four(tensor(nested(legacy_storage()), offset, size, stride))


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that announce or build something large; against both readers."""
    for proto in (b"\x80\x04", b"\x80\x02"):
        version = f"protocol {proto[1]}"
        yield f"BINBYTES8 of 2^62, {version}", proto + b"\x8e" + struct.pack("<Q", 1 << 62) + b"x."
        yield f"BINBYTES of 2^32, {version}", proto + b"B\xff\xff\xff\xff."
        yield f"BINUNICODE of 2^32, {version}", proto + b"X\xff\xff\xff\xff."
        yield f"BINUNICODE8, {version}", proto + b"\x8d" + struct.pack("<Q", 1 << 62) + b"."
        yield f"LONG4, {version}", proto + b"\x8b\xff\xff\xff\x7f."
        yield f"LONG1 of 255 bytes, {version}", proto + b"\x8a\xff" + b"\x7f" * 255 + b"."
        yield f"LONG_BINPUT of 2^31, {version}", proto + b"Nr\xff\xff\xff\x7f."
        yield f"LONG_BINGET, {version}", proto + b"j\xff\xff\xff\x7f."
        yield f"a hundred thousand marks, {version}", proto + b"(" * 100_000 + b"."
        yield f"a hundred thousand tuples in each other, {version}", proto + b")" + b"\x85" * 100_000 + b"."
        yield f"a hundred thousand lists in each other, {version}", proto + b"]" * 100_000 + b"a" * 99_999 + b"."
        yield f"two million empty dicts, {version}", proto + b"(" + b"}" * 2_000_000 + b"t."
        yield f"two million None, {version}", proto + b"(" + b"N" * 2_000_000 + b"t."
        yield f"BYTEARRAY8, {version}", proto + b"\x96" + struct.pack("<Q", 1 << 40) + b"."
        yield f"no end, {version}", proto + b"N" * 50_000
    yield "a frame of 2^62", b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N."
    yield "a list that holds itself", b"\x80\x04]\x94h\x00a."
    yield "memo of a million", b"\x80\x04N" + b"\x94" * 1_000_000 + b"."
    yield "two to the 90 references", b"\x80\x04]" + doubling(90) + b"."
    colliding = b"".join(number(i * ((1 << 61) - 1)) + b"N" for i in range(20_000))
    yield "keys chosen to collide", b"\x80\x04}(" + colliding + b"u."
    yield "storage of 2^60 numbers", four(nested(legacy_storage(announced=1 << 60)))
    yield "storage of -1 numbers", four(nested(legacy_storage(announced=-1)))


def doubling(times: int) -> bytes:
    """Tuples of which each holds the one before twice."""
    return b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(times))


def wide(references: int, length: int) -> bytes:
    """A list of references to one long list: what a walk along every reference takes minutes for."""
    return b"\x80\x02](](" + b"N" * length + b"eq\x00" + b"h\x00" * (references - 1) + b"e."


def copies(calls: int, items: int) -> bytes:
    """One list of pairs that is made into an ordered dict again and again."""
    pairs = b"".join(long(f"{index}") + b"N\x86" for index in range(items))
    body = b"](" + pairs + b"eq\x00" + b"ccollections\nOrderedDict\nh\x00\x85R" * calls
    return b"\x80\x02(" + body + b"t."


def shared_storage(tensors: int, numbers: int) -> bytes:
    """An EDM pickle in which one memoised bytes object is the storage of many tensors of one number."""
    data = legacy_storage(numbers)
    load = symbol("torch.storage", "_load_from_bytes") + b"\x94"  # memo 0
    kept = b"B" + struct.pack("<I", len(data)) + data + b"\x94"  # memo 1
    one = tensor(b"h\x00h\x01\x85R", b"K\x00", b"K\x01\x85", b"K\x01\x85")
    named = b"".join(short(f"w{index}") + one for index in range(tensors))
    return four(load + kept + b"}(" + named + b"u" + b"\x87")


def zip_file(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def torch_files() -> Iterator[tuple[str, bytes]]:
    """Against the reader of torch's files."""
    head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    facts = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
    for name, body in (
        ("os.system", call_2("os", "system", f"touch {MARKER}")),
        ("exec", call_2("__builtin__", "exec", "1")),
        ("getattr", call_2("__builtin__", "getattr", "a", "b")),
        ("numpy object array", call_2("numpy.core.multiarray", "_reconstruct", "a")),
        ("copy_reg", call_2("copy_reg", "_reconstructor", "a")),
        ("codecs", call_2("_codecs", "encode", "a", "latin1")),
        ("torch.load", call_2("torch.storage", "_load_from_bytes", "a")),
        ("a persistent id of a number", b"\x80\x02K\x01Q."),
        ("a storage of a function", b"\x80\x02(U\x07storageccollections\nOrderedDict\nU\x010U\x03cpuK\x01tQ."),
        ("a storage that is not there", b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x019U\x03cpuK\x01tQ."),
        (
            "a storage that leaves the folder",
            b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x08../../..U\x03cpuK\x01tQ.",
        ),
        ("bytes left over", b"\x80\x02}.}."),
    ):
        yield f"zip: {name}", zip_file({"archive/data.pkl": body, "archive/data/0": b"\0" * 4})
        yield f"first format: {name}", head + facts + body + b"\x80\x02].."
    yield "a zip bomb", zip_file({"archive/data.pkl": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED)
    yield "an empty zip", zip_file({})
    yield "two pickles", zip_file({"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b"\x80\x02}."})
    yield "a program", zip_file({"a/data.pkl": b"\x80\x02}.", "a/code/b.py": b"1"})
    yield "big-endian", zip_file({"a/data.pkl": b"\x80\x02}.", "a/byteorder": b"big"})
    yield "big-endian, first format", head + facts.replace(b"\x88", b"\x89") + b"\x80\x02}.\x80\x02]."
    yield "no magic", b"\x80\x02K\x01.\x80\x02M\xe9\x03." + facts + b"\x80\x02}.\x80\x02]."
    whole = zip_file({"archive/data.pkl": b"\x80\x02}."})
    yield "a zip that is cut off", whole[:-1]
    yield "a wrong checksum", whole.replace(b"\x80\x02}.", b"\x80\x02].", 1)
    yield "a member count that lies", whole[:-12] + b"\xff\xff" + whole[-10:]
    yield "members that overlap", overlapping(40)


def overlapping(count: int) -> bytes:
    """Many names for the same bytes, so that a small file stands for a large one."""
    data = b"\0" * 4096
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), 1, 0) + b"x"
    entries = b""
    for index in range(count):
        name = f"archive/data/{index}".encode()
        entries += struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\x01\x02", 20, 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data)),
            *(len(name), 0, 0, 0, 0, 0, 0),
        ) + name  # fmt: skip
    body = local + data
    return body + entries + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(body), 0)
