"""Preset files laid on one another: a packaged one or one's own, what it ``extends``, and the settings of a method.

A run's ``config.yaml`` is such a file as well. From below to above: the preset that is extended last, the method, that
preset's settings for the method, then what each file nearer to the one named says, for the method last. Budgets come on top.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from koopstep.core.arguments import checked
from koopstep.core.errors import UsageError
from koopstep.core.explain import nearest
from koopstep.core.files import read_limited
from koopstep.core.registry import add
from koopstep.core.renamed import renamed
from koopstep.core.yaml_reader import LARGEST_TEXT, parse_yaml

Settings = dict[str, Any]
BUDGETS = ("demo", "quick")  # shorter versions that a preset may define
_ENDINGS = (".yaml", ".yml")
_DEFAULT_METHOD = "kdm"


@dataclass(frozen=True)
class Layer:
    """One file: its settings, those for methods and budgets, and where it says it belongs.

    Attributes:
        where: what messages call it.
        name: of the preset that it is.
        extends: the file or preset below it; None for a complete one.
        method: the method that it is written for; None where it does not say.
        settings, methods, budgets: its content.
        file: of one's own; None for a packaged preset.
    """

    where: str
    name: str
    extends: str | None
    method: str | None
    settings: Settings
    methods: dict[str, Settings]
    budgets: dict[str, Settings] | None
    file: Path | None = None


@dataclass(frozen=True)
class Resolved:
    """Layers put together for one method."""

    where: str
    name: str
    method: str
    settings: Settings


@dataclass(frozen=True)
class Method:
    """A method of the user's: settings laid over a preset, or over another method's."""

    about: str
    settings: Settings
    extends: str | None = None


OWN_METHODS: dict[str, Method] = {}


@checked
def register_method(name: str, *, about: str, settings: Mapping[str, Any], extends: str | None = None) -> None:
    """Make ``--method name`` of some settings.

    Args:
        name: small letters, digits, ``+``, ``-`` and ``_``.
        about: one line for people.
        settings: nested, as in a preset, such as ``{"student": {"operator": {"kind": "dense"}}}``; plain data only.
        extends: a method whose settings (and those that presets have for it) these are laid over.

    Raises:
        UsageError: the name is taken, ``extends`` is no method, or the settings are no plain data.
    """
    if extends is not None:
        check_known("method", extends, method_names())
    if name in read_packaged("methods"):
        raise UsageError(f"koopstep has the method {name!r} already; choose another name")
    try:
        plain: Settings = json.loads(json.dumps(dict(settings)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the settings of the method {name!r} are no plain data: {error}") from error
    module = str(sys._getframe(1).f_globals.get("__name__"))
    method = Method(about, plain, extends)
    # a notebook runs a cell again with other settings; anywhere else the same name twice is a slip
    words = name if module == "__main__" else repr(method)
    add("method", OWN_METHODS, name, method, (module, words))


def method_names() -> dict[str, str]:
    """Method -> one line about it."""
    packaged = {name: str(entry["about"]) for name, entry in read_packaged("methods").items()}
    return packaged | {name: method.about for name, method in OWN_METHODS.items()}


def method_settings(name: str) -> Settings:
    """What a known method lays over a preset."""
    own = OWN_METHODS.get(name)
    if own is None:
        return dict(read_packaged("methods")[name]["settings"])
    return copy.deepcopy(own.settings) if own.extends is None else merge(method_settings(own.extends), own.settings)


def _line_of(method: str) -> list[str]:
    """A method after those that it extends: presets' settings for each of them hold for it, too."""
    own = OWN_METHODS.get(method)
    return [method] if own is None or own.extends is None else [*_line_of(own.extends), method]


def preset_names() -> dict[str, str]:
    """Preset -> one line about it."""
    folder = resources.files("koopstep") / "presets"
    names = sorted(file.name[: -len(".yaml")] for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {name: str(read_packaged(name)["about"]) for name in names if name != "methods"}


def read_packaged(name: str) -> Settings:
    """A packaged file as it is written, for the caller to change."""
    return copy.deepcopy(_parsed(name))


@functools.cache
def _parsed(name: str) -> Settings:
    text = (resources.files("koopstep") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    result: Settings = parse_yaml(text, f"preset {name}")
    return result


def resolve(preset: str, method: str | None = None, budget: str | None = None) -> Resolved:
    """All settings of a preset with a method; nothing is checked but names and layout.

    Args:
        preset: a packaged preset's name, or the path of a ``.yaml`` file.
        method: a method's name; the one that the files say when absent, else ``kdm``.
        budget: one of ``BUDGETS``; None for the full settings, which a preset without it has, too.

    Raises:
        UsageError: on unknown names, files that are no presets, that extend one another in a circle, or that hold all
            settings of another method.
    """
    layers = _read_chain(preset)
    asked = method or next((layer.method for layer in layers if layer.method), _DEFAULT_METHOD)
    check_known("method", asked, method_names())
    if budget is not None:
        check_known("budget", budget, BUDGETS)
    top, base = layers[0], layers[-1]
    holds = base.method
    if holds not in (None, asked):
        raise UsageError(
            f"{base.where} is written for the method {holds!r} and cannot become {asked!r}; leave --method out, or write one "
            f"for it with `koopstep presets NAME --method {asked} --yaml`"
        )
    settings = base.settings
    if holds != asked:
        settings = merge(settings, method_settings(_line_of(asked)[0]))
    for name in _line_of(asked):
        if name in OWN_METHODS and holds != asked:
            settings = merge(settings, OWN_METHODS[name].settings)
        settings = merge(settings, base.methods.get(name, {}))
    budgets = base.budgets or {}
    for layer in reversed(layers[:-1]):
        settings = merge(settings, layer.settings)
        for name in _line_of(asked):
            settings = merge(settings, layer.methods.get(name, {}))
        budgets = {} if layer.budgets is None else merge(budgets, layer.budgets)
    chosen = dict(budgets.get(budget, {})) if budget else {}
    of_methods = chosen.pop("methods", {})
    settings = merge(settings, chosen)
    for name in _line_of(asked):
        settings = merge(settings, of_methods.get(name, {}))
    return Resolved(top.where, top.name, asked, settings | {"preset": top.name, "method": asked})


def own_files(preset: str) -> list[Path]:
    """The files of one's own that ``preset`` is read from: itself and what it extends; none for a packaged one."""
    return [layer.file for layer in _read_chain(preset) if layer.file is not None]


def check_known(what: str, name: str, known: Iterable[str], otherwise: str = "") -> None:
    """Raise UsageError, with the nearest name, where ``name`` is not ``known``."""
    if name not in known:
        hint = nearest(name, known).replace("allowed:", "known:")
        raise UsageError(f"unknown {what} {name!r}; {hint}{otherwise}")


def merge(below: Settings, above: Settings) -> Settings:
    """``above`` on top of ``below``; a mapping that names another ``kind`` replaces the one below whole."""
    result: Settings = json.loads(json.dumps(below))
    for key, value in above.items():
        old = result.get(key)
        same_kind = (
            isinstance(value, dict) and isinstance(old, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        )
        result[key] = merge(old, value) if same_kind else value  # type: ignore[arg-type]
    return result


def _read_chain(preset: str) -> list[Layer]:
    """The file that was named, what it extends, and so on to the complete one."""
    layers: list[Layer] = []
    seen: list[str] = []
    folder, name = Path(), preset
    while True:
        own = name.endswith(_ENDINGS)
        if "\0" in name:
            raise UsageError(f"{name!r} is neither a preset nor a file: it holds a null character")
        path = folder / name
        place = os.path.realpath(path) if own else name  # of a link to itself, too
        if place in seen:
            raise UsageError(f"{layers[0].where} extends itself, by way of {layers[-1].where}")
        seen.append(place)
        if own:
            settings, own_name = _read_own(path)
            layers.append(dataclasses.replace(_layer(settings, str(path), own_name), file=path))
            folder = path.parent
        else:
            within = f" (`extends` of {layers[-1].where})" if layers else ""
            check_known("preset", name, preset_names(), f"; or name a .yaml file{within}")
            layers.append(_layer(read_packaged(name), f"preset {name}", name))
        below = layers[-1].extends
        if below is None:
            return layers
        name = below


def _layer(settings: Settings, where: str, name: str) -> Layer:
    extends, method = settings.pop("extends", None), settings.pop("method", None)
    settings.pop("preset", None)
    methods, budgets = settings.pop("methods", None), settings.pop("budgets", {})
    for key, value in (("extends", extends), ("method", method)):
        if not isinstance(value, str | None):
            raise UsageError(f"{where}: {key!r} must be a name, got {value!r}")
    known = method_names()
    _check_layers(methods, "methods", known, where)
    for budget in _check_layers(budgets, "budgets", BUDGETS, where).values():
        _check_layers(budget.get("methods"), "methods", known, where)
    return Layer(where, name, extends, method, settings, methods or {}, budgets)


def _read_own(path: Path) -> tuple[Settings, str]:
    """Somebody's own file, laid out as the packaged ones are, or what training wrote into a run; and the preset's name."""
    try:
        text = read_limited(path, LARGEST_TEXT).decode()
        plain: Any = json.loads(json.dumps(parse_yaml(text, str(path))))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path} is no preset: {error}") from error
    if not isinstance(plain, dict):
        raise UsageError(
            f"{path} is no preset: it must hold settings by name, as `koopstep presets NAME --yaml` prints"
        )
    plain = renamed(plain, str(path))
    if isinstance(plain.get("recipe"), dict) and "data_root" in plain:
        return plain["recipe"], str(plain["recipe"].get("preset", path.stem))
    return plain, path.stem


def _check_layers(found: Any, key: str, known: Iterable[str], where: str) -> dict[str, Settings]:
    """``found``, what a file says under ``methods`` or ``budgets``, where it is settings under known names."""
    found = {} if found is None else found
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise UsageError(f"{where}: {key!r} must hold settings under each name")
    for name in found:
        if name not in known:
            raise UsageError(f"{where}: unknown name {name!r} under {key!r}; {nearest(name, known)}")
    return found
