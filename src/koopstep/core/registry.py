"""Names of one's own in the tables: operators, networks, terms, methods, metrics, analyses; one way for all of them.

A table is a dict. User code puts a line into it with a decorator, before anything asks for the name. Nothing that is read
from a file imports code: a file names a kind, and the user imports what registers it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import GetCoreSchemaHandler, SerializationInfo, create_model
from pydantic_core import CoreSchema, core_schema

from koopstep.core.config import Config
from koopstep.core.errors import UsageError

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_+-]{0,63}")
BY_FILE = "__koopstep_file__"
"""Set in a module that was named by its file."""
KINDS = ("operator", "network")
"""Tables whose names stand in the configs of saved students."""
_OWN = "registered"  # the tag of a kind that the union itself does not list
_ORIGINS: dict[tuple[str, str], tuple[str, str]] = {}
_TABLES: dict[tuple[str, str], dict[str, Any]] = {}


def add(what: str, table: dict[str, T], name: str, line: T, made_by: tuple[str, str]) -> None:
    """Put a line of the user's into a table.

    Args:
        what: the table, in a word: ``operator``.
        table: where it goes.
        name: under which recipes know it.
        line: what the table holds.
        made_by: module and name of the code. The same code may be run again, as in a notebook.

    Raises:
        UsageError: the name cannot be one, or is taken.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"a registered {what} has a name of small letters, digits, - and _, got {name!r}")
    origin = _ORIGINS.get((what, name))
    if name in table and origin != made_by:
        owner = "koopstep has" if origin is None else f"{origin[0]} registered"
        raise UsageError(f"{owner} the {what} {name!r} already; choose another name")
    table[name] = line
    _ORIGINS[what, name] = made_by
    _TABLES[what, name] = table


def forget() -> None:
    """Take everything of the user's out of the tables again, as between two tests."""
    for (_, name), table in _TABLES.items():
        table.pop(name, None)
    _TABLES.clear()
    _ORIGINS.clear()


def origin_of(code: Any) -> tuple[str, str]:
    """Module and name of a function or class."""
    return str(code.__module__), str(code.__qualname__)


def registered(what: str) -> dict[str, str]:
    """Name -> the code that registered it: a module, or a file's name."""
    return {name: _said(module) for (table, name), (module, _) in _ORIGINS.items() if table == what}


def in_use(plain: Any) -> list[str]:
    """What of a config as plain data is the user's, each as ``operator NAME of MODULE``."""
    found: list[str] = []
    if isinstance(plain, Mapping):
        kind = plain.get("kind")
        found += [f"{what} {kind} of {where[kind]}" for what in KINDS if kind in (where := registered(what))]
        plain = list(plain.values())
    if isinstance(plain, list):
        found += [line for value in plain for line in in_use(value)]
    return list(dict.fromkeys(found))


def check_in_use(lines: list[str], where: str) -> None:
    """Raise UsageError for what of :func:`in_use` is not registered (any more); ``where`` needs it."""
    for line in lines:
        what, _, rest = line.partition(" ")
        name, _, module = rest.partition(" of ")
        if what in KINDS and name not in registered(what):
            raise UsageError(
                f"{where} has the {what} {name!r}, which {module} registers; import that first, or name it: --import {module}"
            )


def _said(module: str) -> str:
    """A module by its name; a script, or a file that was named, by the file's."""
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if module != "__main__" and getattr(found, "__spec__", None) is not None and not hasattr(found, BY_FILE):
        return module
    return Path(file).name if file else "a notebook"


def settings_of(kind: str, code: Callable[..., Any]) -> type[Config]:
    """A config of ``kind`` whose settings are the keyword-only arguments of ``code``, a function or a class.

    Raises:
        UsageError: one of them has no type.
    """
    arguments = inspect.signature(code).parameters.values()
    try:
        types = get_type_hints(code.__init__ if inspect.isclass(code) else code, include_extras=True)
    except NameError as error:
        raise UsageError(f"the types of the settings of {kind!r} cannot be read: {error}") from error
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    for argument in arguments:
        if argument.kind is not argument.KEYWORD_ONLY:
            continue
        if argument.name not in types:
            raise UsageError(
                f"the setting {argument.name!r} of {kind!r} needs a type, as in `{argument.name}: int = 4`"
            )
        fields[argument.name] = (types[argument.name], ... if argument.default is argument.empty else argument.default)
    return create_model(f"Registered_{kind}", __base__=Config, **fields)


def settings_in(config: Config) -> dict[str, Any]:
    """The settings of a registered kind, as its code takes them."""
    return {name: getattr(config, name) for name in type(config).model_fields if name != "kind"}


@dataclass(frozen=True)
class ByKind:
    """Marks a union of configs that differ by ``kind``, and to which kinds of one's own belong, too.

    Attributes:
        what: the table, in a word.
        find: kind -> the config class of a registered one; None of any other.
    """

    what: str
    find: Callable[[str], type[Config] | None]

    def __get_pydantic_core_schema__(self, union: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = {model.model_fields["kind"].default: model for model in get_args(union)}

        def tag(value: Any) -> Any:
            kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
            if isinstance(kind, str) and kind not in members and self.find(kind) is not None:
                return _OWN
            return kind if isinstance(kind, str) else None

        own = core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(_write, info_arg=True),
        )
        choices = {kind: handler.generate_schema(model) for kind, model in members.items()}
        return core_schema.tagged_union_schema({**choices, _OWN: own}, discriminator=tag)

    def _read(self, value: Any) -> Config:
        kind = value["kind"] if isinstance(value, Mapping) else value.kind
        model = self.find(kind)
        if model is None:
            raise UsageError(f"the {self.what} {kind!r} is not registered")
        return value if isinstance(value, model) else model.parse(value, f"{self.what} {kind!r}")


def _write(value: Config, info: SerializationInfo) -> dict[str, Any]:
    return value.model_dump(mode=info.mode, context=info.context)
