"""Strict, frozen configs, and errors that fit on one line.

A config class sits beside what it builds. Values are never guessed: an unknown field, text where a number
belongs, or a float where an integer belongs is a `UsageError` that names the field.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from koopstep.core.errors import UsageError


@dataclass(frozen=True)
class Added:
    """Marks a field that files of older versions lack, as in ``size: Annotated[float, Added()] = 1.0``.

    Such a field is left out of what is written while it has its default, so that a file without it keeps its digest.
    """


class Config(BaseModel):
    """Base of every config: frozen, strict, no field but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = write(self)
        fields = type(self).model_fields
        added = [name for name, field in fields.items() if any(isinstance(mark, Added) for mark in field.metadata)]
        for name in added:
            if getattr(self, name) == fields[name].default:
                plain.pop(name, None)
        return plain

    @classmethod
    def parse(cls, mapping: Any, where: str) -> Self:
        """Build the config from plain data (as YAML or JSON give it).

        Args:
            mapping: nested dicts, lists, numbers, texts; lists stand for tuples.
            where: what is being read, the start of the error message.

        Raises:
            UsageError: one line that names the field, what was got and what is allowed.
        """
        if not isinstance(mapping, Mapping):
            raise UsageError(f"{where}: expected fields with values, got {_short(mapping)}")
        try:
            text = json.dumps(mapping)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}: holds a value that is no plain data: {error}") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(f"{where}: {_explain(error, mapping)}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _explain(error: ValidationError, mapping: Mapping[str, Any]) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(_without_kinds(first["loc"], mapping)) or "the whole"
    if first["type"] == "extra_forbidden":
        return f"unknown field '{place}'; {_allowed(error.title, first['loc'], mapping)}"
    if first["type"] == "missing":
        return f"field '{place}' is missing"
    message = " ".join(first["msg"].split())
    message = message[0].lower() + message[1:]
    more = error.error_count() - 1
    return f"field '{place}' got {_short(first['input'])}: {message}" + (f" (and {more} more)" if more else "")


def _without_kinds(location: tuple[int | str, ...], mapping: Mapping[str, Any]) -> list[str]:
    """The way to a setting as it is written: pydantic also names the kind it chose on the way."""
    here: Any = mapping
    parts = []
    for part in location:
        if isinstance(here, Mapping) and part not in here and here.get("kind") == part:
            continue
        parts.append(str(part))
        if isinstance(here, Mapping):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
    return parts


def _allowed(title: str, location: tuple[int | str, ...], mapping: Mapping[str, Any]) -> str:
    model = _find_model(title)
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation if model and str(part) in model.model_fields else None
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    if model is None:
        return f"remove it (got {_short(mapping.get(str(location[0])))})"
    names = sorted(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return (f"did you mean '{close[0]}'? " if close else "") + f"allowed: {', '.join(names)}"


def _find_model(title: str) -> type[BaseModel] | None:
    waiting: list[type[BaseModel]] = [Config]
    while waiting:
        model = waiting.pop()
        if model.__name__ == title:
            return model
        waiting.extend(model.__subclasses__())
    return None


def dump(config: Config) -> dict[str, Any]:
    """The config as plain data (dicts, lists, numbers, texts) that `parse` reads back to an equal config."""
    result: dict[str, Any] = json.loads(json.dumps(config.model_dump(mode="python"), default=str))
    return result


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: `1e-3` is a float (YAML 1.1 reads it as text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Plain data from YAML text.

    Raises:
        UsageError: it is no YAML; one line naming `where` and the place.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error


def override(mapping: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of nested settings with some of them changed.

    Args:
        mapping: the complete settings (as `dump` gives them); only paths that exist can be changed.
        assignments: texts such as `training.batch_size=64`; the value is read as YAML.

    Raises:
        UsageError: no `=`, or a path that does not exist, with the closest ones that do.
    """
    result = copy.deepcopy(dict(mapping))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        path = path.strip()
        if not equals or not path:
            raise UsageError(f"expected key=value, got '{assignment}'")
        known = list(_paths(result))
        if path not in known:
            raise UsageError(f"unknown setting '{path}'; {_closest(path, known)}")
        inner: dict[str, Any] = result
        *parents, last = path.split(".")
        for parent in parents:
            inner = inner[parent]
        inner[last] = parse_yaml(text, f"value of '{path}'")
    return result


def _paths(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in mapping.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def _closest(path: str, known: list[str]) -> str:
    last = path.rsplit(".", 1)[-1]
    same_name = [name for name in known if name.rsplit(".", 1)[-1] == last]
    close = same_name or difflib.get_close_matches(path, known, n=3, cutoff=0.5)
    if not close:
        tails = {name.rsplit(".", 1)[-1]: name for name in known}
        close = [tails[tail] for tail in difflib.get_close_matches(last, tails, n=3)]
    if close:
        return f"did you mean {' or '.join(close[:3])}?"
    return f"known: {', '.join(name for name in known if '.' not in name)}"
