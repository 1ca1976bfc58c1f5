"""YAML as settings need it: plain data, the numbers of YAML 1.2, and nothing that a small file can blow up to.

Left out of YAML 1.1: sexagesimal numbers (``1:30`` is text), binary and ``_`` in numbers, leading zeros for octal, dates
(``!!timestamp`` too).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

from koopstep.core.errors import UsageError

LARGEST_TEXT = 128 * 1024  # characters; a run's config.yaml has some thousand
LARGEST_CONTENT = 50_000  # values, those that an alias repeats counted again
_LONGEST_NUMBER = 64  # digits

_INTEGER, _FLOAT, _BOOLEAN, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "timestamp"))
_LEFT_OUT = {_INTEGER, _FLOAT, _DATE}


class _Loader(yaml.SafeLoader):
    """Numbers as in YAML 1.2: ``1e-3`` is one (YAML 1.1 reads it as text), ``1:30`` is none."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (pyyaml's own table, copied)
        first: [(tag, pattern) for tag, pattern in known if tag not in _LEFT_OUT]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text, base)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits")
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    found: bool | None = loader.bool_values.get(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is neither true nor false")
    return found


def _date(loader: _Loader, node: yaml.ScalarNode) -> str:
    raise ValueError(f"no setting is a date, got {loader.construct_scalar(node)!r} with the tag !!timestamp")


_Loader.add_implicit_resolver(_INTEGER, re.compile(r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+.0123456789"),
)
_Loader.add_constructor(_INTEGER, _integer)
_Loader.add_constructor(_FLOAT, _float)
_Loader.add_constructor(_BOOLEAN, _boolean)
_Loader.add_constructor(_DATE, _date)


def parse_yaml(text: str, where: str) -> Any:
    """Plain data from YAML text.

    Raises:
        UsageError: it is no YAML, larger than settings are, names a setting twice, or repeats itself without end; one line
            naming ``where`` and the place.
    """
    if len(text) > LARGEST_TEXT:
        raise UsageError(f"{where}: {len(text):,} characters of YAML; settings are at most {LARGEST_TEXT:,}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_content(node)
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error


def _check_content(root: yaml.Node) -> None:
    """Raise ValueError for aliases that make a small text large, or one that holds itself; for a name given twice."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise ValueError("an alias holds itself")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for child in _children(node))
            open_nodes.remove(id(node))
        if sizes[id(node)] > LARGEST_CONTENT:
            raise ValueError(f"more than {LARGEST_CONTENT:,} values, with what its aliases repeat")
        return sizes[id(node)]

    size(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice in the settings that begin in line {node.start_mark.line + 1}")
    return [part for pair in node.value for part in pair]
