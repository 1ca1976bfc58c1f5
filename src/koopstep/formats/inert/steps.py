"""What each opcode does to the machine, and the loop over them.

Nothing is imported, nothing that the file names is called, and no opcode runs that is not on the dialect's list.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from koopstep.core.errors import UsageError
from koopstep.formats.inert.dialect import Make
from koopstep.formats.inert.machine import Machine
from koopstep.formats.inert.values import Instance, Scalar, Symbol

_LARGEST_KEY = 1 << 31
_LONGEST_NUMBER = 16
_STOP = ord(".")


def run(machine: Machine) -> Any:
    """Read one pickle; afterwards the machine's ``position`` is the byte behind it.

    Raises:
        DamagedError: it is no well-formed pickle, or too large.
        UsageError: it asks for something that is not on the dialect's list.
    """
    allowed, limits = machine.dialect.opcodes, machine.limits
    _begin(machine)
    while True:
        machine.here = machine.position
        code = machine.number(1)
        if code not in allowed:
            raise UsageError(
                f"{machine.where}: byte {machine.here}: opcode {code:#04x} is not on the list for "
                f"{machine.dialect.name}: refused; nothing was run"
            )
        if limits.operations < 1:
            machine.fail("more operations than any real file has")
        limits.operations -= 1
        if code == _STOP:
            value = machine.pop()
            if machine.stack or machine.marks:
                machine.fail("values left over at its end")
            return value
        try:
            STEPS[code](machine)
        except ValueError as error:
            machine.fail(str(error))


def _begin(machine: Machine) -> None:
    if machine.number(1) != 0x80:  # PROTO
        machine.fail("not the start of a pickle")
    protocol = machine.number(1)
    if protocol not in machine.dialect.protocols:
        wanted = ", ".join(map(str, sorted(machine.dialect.protocols)))
        machine.fail(f"pickle protocol {protocol}; {machine.dialect.name} has {wanted}")


def _mark(machine: Machine) -> None:
    if len(machine.marks) >= machine.limits.marks:
        machine.fail("brackets nested too deep")
    machine.marks.append(len(machine.stack))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.made(tuple(reversed(values)))

    return step


def _long(machine: Machine) -> None:
    length = machine.number(1)
    if length > _LONGEST_NUMBER:
        machine.fail(f"a number of {length} bytes")
    machine.push(machine.number(length, signed=True))


def _key(machine: Machine, value: Any) -> Any:
    """Keys are texts or small numbers: their hashes cannot be chosen to collide."""
    if type(value) is str or (type(value) is int and 0 <= value < _LARGEST_KEY):
        return value
    machine.fail("a key that is neither a text nor a number from 0 to 2^31")


def _extend(machine: Machine, values: list[Any]) -> None:
    target = machine.top()
    if not isinstance(target, list):
        machine.fail("something is appended to what is no list")
    target.extend(values)


def _set_items(machine: Machine, values: list[Any]) -> None:
    target = machine.top()
    if not isinstance(target, dict) or len(values) % 2:
        machine.fail("keys and values for what is no dict")
    for key, value in zip(values[::2], values[1::2], strict=True):
        machine.count()
        target[_key(machine, key)] = value


def _set_item(machine: Machine) -> None:
    value = machine.pop()
    _set_items(machine, [machine.pop(), value])


def _add_items(machine: Machine) -> None:
    values, target = machine.pop_to_mark(), machine.top()
    if not isinstance(target, set):
        machine.fail("members for what is no set")
    target.update(_key(machine, value) for value in values)


def _append(machine: Machine) -> None:
    value = machine.pop()
    _extend(machine, [value])


def _global(machine: Machine) -> None:
    module = machine.line()
    machine.symbol(module, machine.line())


def _stack_global(machine: Machine) -> None:
    name = machine.pop()
    machine.symbol(machine.pop(), name)


def _apply(machine: Machine, table: Mapping[str, Make]) -> None:
    """A look-up in the dialect's table; what runs is ours, on inert arguments."""
    arguments, symbol = machine.pop(), machine.pop()
    if not isinstance(symbol, Symbol) or not isinstance(arguments, tuple):
        machine.fail("a call of what is no name")
    make = table.get(symbol.name)
    if make is None:
        raise UsageError(
            f"{machine.where}: byte {machine.here}: the file wants to call {symbol.name}, which {machine.dialect.name} "
            "never does: refused; nothing was run"
        )
    machine.count(sum(len(argument) for argument in arguments if isinstance(argument, list)))  # it is copied each time
    machine.made(make(arguments))


def _build(machine: Machine) -> None:
    """Set an object's state. A dict's attributes (such as a state dict's ``_metadata``) are left out."""
    state, target = machine.pop(), machine.top()
    if isinstance(target, Instance) and target.state is None:
        target.state = state
    elif isinstance(target, Scalar):
        target.complete(state)
    elif not (isinstance(target, dict) and isinstance(state, dict)):
        machine.fail("a state for what has none")


def _persistent(machine: Machine) -> None:
    if machine.shelf is None:
        machine.fail("a persistent id")
    machine.made(machine.shelf.fetch(machine.pop()))


Step = Callable[[Machine], None]

STEPS: dict[int, Step] = {
    0x95: lambda m: m.frame(),  # FRAME
    ord("("): _mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),  # NEWTRUE
    0x89: lambda m: m.push(False),  # NEWFALSE
    ord("K"): lambda m: m.push(m.number(1)),  # BININT1
    ord("M"): lambda m: m.push(m.number(2)),  # BININT2
    ord("J"): lambda m: m.push(m.number(4, signed=True)),  # BININT
    0x8A: _long,  # LONG1
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),  # BINFLOAT
    ord("B"): lambda m: m.made(m.take(m.number(4))),  # BINBYTES
    ord("C"): lambda m: m.made(m.take(m.number(1))),  # SHORT_BINBYTES
    0x8E: lambda m: m.made(m.take(m.number(8))),  # BINBYTES8
    ord("X"): lambda m: m.made(m.text(m.number(4))),  # BINUNICODE
    0x8C: lambda m: m.made(m.text(m.number(1))),  # SHORT_BINUNICODE
    ord("U"): lambda m: m.made(m.text(m.number(1))),  # SHORT_BINSTRING: the text of Python 2
    ord("T"): lambda m: m.made(m.text(m.number(4))),  # BINSTRING
    ord("}"): lambda m: m.made({}),
    ord("]"): lambda m: m.made([]),
    0x8F: lambda m: m.made(set()),  # EMPTY_SET
    ord(")"): lambda m: m.push(()),
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    ord("t"): lambda m: m.made(tuple(m.pop_to_mark())),  # TUPLE
    ord("a"): _append,
    ord("e"): lambda m: _extend(m, m.pop_to_mark()),  # APPENDS
    ord("s"): _set_item,
    ord("u"): lambda m: _set_items(m, m.pop_to_mark()),  # SETITEMS
    0x90: _add_items,  # ADDITEMS
    ord("c"): _global,
    0x93: _stack_global,
    ord("h"): lambda m: m.recall(m.number(1)),  # BINGET
    ord("j"): lambda m: m.recall(m.number(4)),  # LONG_BINGET
    ord("q"): lambda m: m.remember(m.number(1)),  # BINPUT
    ord("r"): lambda m: m.remember(m.number(4)),  # LONG_BINPUT
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    ord("R"): lambda m: _apply(m, m.dialect.calls),  # REDUCE
    0x81: lambda m: _apply(m, m.dialect.classes),  # NEWOBJ
    ord("b"): _build,
    ord("Q"): _persistent,  # BINPERSID
}
"""Opcode -> what it does. PROTO and STOP are in :func:`run`."""
