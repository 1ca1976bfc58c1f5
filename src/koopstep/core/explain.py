"""What is wrong with a config, in one line that names the setting as it is written and the nearest name that is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

_LONGEST = 80
IMPORT_FIRST = "import the module that registers it, or name it with --import"


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing wrong with what was to become a ``model``; how many more there are follows."""
    found = error.errors(include_url=False)
    first = found[0]
    location = first["loc"]
    if first["type"] == "missing" and isinstance(location[-1], int):  # a tuple that is too short
        return f"field '{_place(model, location[:-1])}' got {short(first['input'])}: needs {location[-1] + 1} values or more"
    place = _place(model, location)
    if first["type"] == "missing":
        return f"field '{place}' is missing"
    if first["type"] == "extra_forbidden":
        owners = _follow(model, location)[1]
        names = {name for owner in owners for name in owner.model_fields}
        return f"unknown field '{place}'; {nearest(str(location[-1]), sorted(names))}"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kind = f"{place}.kind" if place else "kind"
        kinds = [str(_kind(found)) for found in _follow(model, location)[2]]
        if first["type"] == "union_tag_not_found":
            return f"field '{kind}' is missing; allowed: {', '.join(kinds)}"
        tag = str(first["ctx"]["tag"])
        open_to_all = first["ctx"]["discriminator"] != "'kind'"
        own = f"; a kind of your own is registered first: {IMPORT_FIRST}" if open_to_all else ""
        return f"field '{kind}' got {short(tag)}; {nearest(tag, kinds)}{own}"
    here = [entry for entry in found if _place(model, entry["loc"]) == place]
    rest = len({_place(model, entry["loc"]) for entry in found}) - 1
    more = f" (and {rest} more)" if rest else ""
    if first["type"] == "value_error":
        return (f"field '{place}': " if place else "") + str(first["ctx"]["error"]) + more
    wanted = " or ".join(dict.fromkeys(_lower(" ".join(entry["msg"].split())) for entry in here))
    return f"field '{place}' got {short(first['input'])}: {wanted}{more}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """``did you mean 'x'? allowed: x, y``, the question only where a name is close."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    return (f"did you mean '{close[0]}'? " if close else "") + f"allowed: {', '.join(names)}"


def short(value: Any) -> str:
    """A value as it fits into a line; of a mapping its names only."""
    text = f"fields {', '.join(map(str, value))}" if isinstance(value, Mapping) and value else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    return ".".join(_follow(model, location)[0])


def _follow(
    model: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[list[str], list[type[BaseModel]], list[type[BaseModel]]]:
    """The way to a setting as it is written, the configs that may have it, and those that it may be.

    Pydantic's own way also names each kind it chose and each member of a union it tried.
    """
    parts: list[str] = []
    here: Any = model
    owners: list[type[BaseModel]] = [model]
    for part in location:
        owners = _models(here)
        chosen = [owner for owner in owners if len(owners) > 1 and _kind(owner) == part]
        fields = [owner.model_fields[str(part)] for owner in owners if part in owner.model_fields]
        if chosen:
            here = chosen[0]
        elif fields:
            parts.append(str(part))
            here = fields[0].annotation
        elif owners or isinstance(part, int) or get_origin(here) is dict:
            parts.append(str(part))
    return parts, owners, _models(here)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _kind(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
