"""Strict, frozen configs, and errors that fit on one line.

A config class sits beside what it builds. Values are never guessed: an unknown field, text where a number
belongs, a float where an integer belongs or a number that is not finite is a `UsageError` that names the field.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from koopstep.core.errors import UsageError
from koopstep.core.explain import explain, short
from koopstep.core.renamed import renamed, renamed_path
from koopstep.core.yaml_reader import parse_yaml

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


@dataclass(frozen=True)
class Added:
    """Marks a field that files of older versions lack, as in ``size: Annotated[float, Added()] = 1.0``.

    Such a field is left out of what is written while it has its default, so that a file without it keeps its digest.
    """


_COMPLETE = "complete"

Shape = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
"""Of one sample, without the batch: (D,) or (C, H, W)."""


class _Checked(ModelMetaclass):
    """What is wrong with the values of ``SomeConfig(...)`` is a `UsageError`, as it is in `Config.parse`."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            model: Any = cls
            raise UsageError(f"{cls.__name__}: {explain(error, model)}") from error


class Config(BaseModel, metaclass=_Checked):
    """Base of every config: frozen, strict, no field but the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        plain: dict[str, Any] = write(self)
        if info.context == _COMPLETE:
            return plain
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
            raise UsageError(f"{where}: expected fields with values, got {short(mapping)}")
        try:
            text = json.dumps(renamed(mapping, where))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}: holds a value that is no plain data: {error}") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(f"{where}: {explain(error, cls)}") from error


def dump(config: Config, *, complete: bool = False) -> dict[str, Any]:
    """The config as plain data (dicts, lists, numbers, texts) that `parse` reads back to an equal config.

    ``complete`` keeps fields of newer versions that have their default (see `Added`): to show or to change, not to store.
    """
    context = _COMPLETE if complete else None
    result: dict[str, Any] = json.loads(json.dumps(config.model_dump(mode="python", context=context), default=str))
    return result


Changes = Mapping[str, Any] | Iterable[str]
"""Single settings to change: ``{"training.steps": 500}``, or texts as the command line takes them, ``training.steps=500``."""


def assignments(changes: Changes) -> list[str]:
    """Changes as ``key=value`` texts.

    Raises:
        UsageError: if there is something else in them.
    """
    if isinstance(changes, str):
        return [changes]
    if not isinstance(changes, Mapping):
        texts: list[Any]
        try:
            texts = list(changes)
        except TypeError:  # no list at all
            texts = [changes]
        if not all(isinstance(text, str) for text in texts):
            raise UsageError(f"changes is a mapping as in {{'training.steps': 500}}, or key=value texts, got {texts!r}")
        return texts
    try:
        return [f"{name}={json.dumps(value)}" for name, value in changes.items()]
    except TypeError as error:
        raise UsageError(f"changes holds a value that is no plain data: {error}") from error


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
        path = renamed_path(path.strip())
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


def refuse_changes(assignments: Iterable[str], fixed: Mapping[str, str]) -> None:
    """Raise UsageError for a `key=value` text that changes a ``fixed`` setting or one below it; ``fixed``: name -> why."""
    for assignment in assignments:
        path = assignment.partition("=")[0].strip()
        reason = fixed.get(path.split(".")[0])
        if reason is not None:
            raise UsageError(f"setting '{path}' cannot be changed: {reason}")


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
