"""Python code that the user names, and only that: a module to import, or a function in one.

Nothing that is read from a file is ever looked up here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.explain import nearest
from koopstep.core.registry import BY_FILE

T = TypeVar("T")


def is_code_name(text: str) -> bool:
    """Whether this is written as ``package.module:function`` or ``path/to/file.py:function``."""
    module, colon, name = text.rpartition(":")
    parts = module.split(".")
    return (
        bool(colon) and name.isidentifier() and (module.endswith(".py") or all(part.isidentifier() for part in parts))
    )


def import_code(module: str) -> ModuleType:
    """Import a module by name as ``python -m`` does (the working directory comes first), or a file by its path.

    Raises:
        UsageError: there is none, or it fails while it is imported.
    """
    try:
        if module.endswith(".py"):
            return _import_file(Path(module))
        with _found_first(Path.cwd()):
            return importlib.import_module(module)
    except KoopstepError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no module {error.name!r} in {Path.cwd()} or among what is installed; name it as "
                "package.module, or as path/to/file.py"
            ) from error
        raise UsageError(f"cannot import {module}: {said(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot import {module}: {said(error)}") from error


def find_code(text: str) -> Any:
    """What ``package.module:name`` or ``path/to/file.py:name`` is.

    Raises:
        UsageError: there is no such module, it cannot be imported, or has no such name.
    """
    module, _, name = text.rpartition(":")
    found = import_code(module)
    if not hasattr(found, name):
        own = [known for known, value in vars(found).items() if getattr(value, "__module__", None) == found.__name__]
        raise UsageError(f"{module} has no {name!r}; {nearest(name, own[:20]).replace('allowed:', 'it has:')}")
    return getattr(found, name)


@contextmanager
def from_here() -> Iterator[None]:
    """Within, modules beside the user are found, as while their code was imported."""
    with _found_first(Path.cwd()):
        yield


def said(error: BaseException) -> str:
    """An error of the user's own code in a line: its kind, its words and where it happened."""
    trace, place = error.__traceback__, ""
    while trace is not None and not isinstance(error, SyntaxError):  # which says itself where it is
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and "site-packages" not in file:
            place = f" (line {trace.tb_lineno} of {Path(file).name})"
        trace = trace.tb_next
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}{': ' if words else ''}{words}{place}"


def guarded(what: str, code: Callable[..., T]) -> Callable[..., T]:
    """``code`` of the user's, whose errors say that they are its own; ``what`` it is, as in ``the metric 'spread'``.

    Raises:
        UsageError: ``code`` raised what is no error of ours.
    """

    def call(*arguments: Any, **named: Any) -> T:
        try:
            return code(*arguments, **named)
        except (KoopstepError, MemoryError):
            raise
        except Exception as error:
            raise UsageError(f"{what} failed: {said(error)}") from error

    return call


@contextmanager
def _found_first(folder: Path) -> Iterator[None]:
    place = str(folder)
    sys.path.insert(0, place)
    try:
        importlib.invalidate_caches()
        yield
    finally:
        if place in sys.path:
            sys.path.remove(place)


def _import_file(path: Path) -> ModuleType:
    """The module of a file, under a name of its own: two files of one name are two modules."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    place = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    setattr(module, BY_FILE, str(path))
    sys.modules[name] = module
    try:
        with _found_first(place.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
