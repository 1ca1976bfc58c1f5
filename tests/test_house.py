"""The house rules of the package, read from its source: floors, circles, sizes, names and forbidden calls."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

# A package imports only packages to its left; two on one floor never import each other.
FLOORS = (
    ("core",),
    ("formats", "nets", "operators"),
    ("features", "teachers"),
    ("data",),
    ("students", "evaluation"),
    ("losses", "sampling", "analysis", "export"),
    ("training", "figures", "editing"),
    ("recipes",),
    ("runs",),
    ("planning",),
    ("workflows",),
    ("studio",),
    ("cli",),
)
FLOOR = {package: height for height, floor in enumerate(FLOORS) for package in floor}

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
NAMELESS_ROOMS = {"util", "utils", "helper", "helpers", "common"}
# The commands start in a blink because they import what they run when they run it, a workflow joins stages of
# which one call needs two or three, and the root resolves its public names on first use so that importing the
# command line does not import torch. Anywhere else a late import hides a circle or an arrow.
LATE_IMPORTS = {"", "cli", "workflows"}
# They execute what they read. (pickletools only lists opcodes: an inert reader of checkpoints may use it.)
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
EXECUTES = {"eval", "exec", "compile", "__import__"}
TORCH_PICKLES = {"torch.load", "torch.save"}
# What opens foreign bytes, which only `formats` does, with one set of limits.
ARCHIVES = {"zipfile", "tarfile", "gzip", "bz2", "lzma", "zlib", "pickletools"}
UNPACKS = ARCHIVES | {"Image.open", "np.load", "np.fromfile", "np.genfromtxt", "np.loadtxt"}


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, its text and its tree."""

    name: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The floor it stands on; empty for the root and what lies directly in it."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""


House = dict[str, Module]
Import = tuple[str, int, bool]  # imported module, line, inside a function


def build(sources: Mapping[str, str]) -> House:
    """Dotted module name -> text, parsed."""
    return {name: Module(name, text, ast.parse(text, name)) for name, text in sources.items()}


def read_package(source: Path) -> House:
    names = {}
    for path in sorted((source / "koopstep").rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return build(names)


def imports(module: Module, house: House) -> Iterator[Import]:
    """The koopstep modules that `module` imports; `from koopstep.core import noise` imports the submodule."""
    late = {
        inner
        for function in ast.walk(module.tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(function)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [name if name in house else node.module for name in submodules]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == "koopstep":
                yield target, node.lineno, node in late


def unknown_rooms(house: House) -> Iterator[str]:
    for module in house.values():
        if module.package and module.package not in FLOOR and f"koopstep.{module.package}" != module.name:
            yield f"{module.name}: {module.package} is no floor of the house"
        if NAMELESS_ROOMS & set(module.name.split(".")):
            yield f"{module.name}: says nothing about what is in it"


def upward_arrows(house: House) -> Iterator[str]:
    for module in house.values():
        for target, line, _ in imports(module, house):
            package = target.split(".")[1] if "." in target else ""
            # the root and ``python -m koopstep`` stand outside the floors
            if module.name in ("koopstep", "koopstep.__main__") or package == module.package != "":
                continue
            if package not in FLOOR or module.package not in FLOOR:
                yield f"{module.name}:{line} imports {target}, which stands on no floor"
            elif FLOOR[package] >= FLOOR[module.package]:
                yield f"{module.name}:{line} imports {target}, which is not below it"


def circles(house: House) -> Iterator[str]:
    graph = {
        module.name: {target for target, _, _ in imports(module, house) if target != module.name}
        for module in house.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(error.args[1])


def late_imports(house: House) -> Iterator[str]:
    for module in house.values():
        for target, line, late in imports(module, house):
            if late and module.package not in LATE_IMPORTS:
                yield f"{module.name}:{line} imports {target} inside a function"


def relative_imports(house: House) -> Iterator[str]:
    for module in house.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{module.name}:{node.lineno} imports relatively"


def sizes(house: House) -> Iterator[str]:
    for module in house.values():
        lines = len(module.text.splitlines())
        if lines > MAX_FILE_LINES:
            yield f"{module.name}: {lines} lines, at most {MAX_FILE_LINES}"
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    where = f"{module.name}:{node.lineno} {node.name}"
                    yield f"{where}: {length} lines, at most {MAX_FUNCTION_LINES}"


def foreign_code(house: House) -> Iterator[str]:
    """Whatever writes or runs a pickle, or runs text."""
    for module in house.values():
        for node in ast.walk(module.tree):
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                root = (node.module or "").split(".")[0]
                named = [root, *(f"{root}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Attribute):
                named = [ast.unparse(node)]
            elif isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name) and node.func.id in EXECUTES:
                    yield f"{module.name}:{node.lineno} calls {node.func.id}()"
                for keyword in node.keywords:
                    if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                        yield f"{module.name}:{node.lineno} passes allow_pickle={ast.unparse(keyword.value)}"
            for name in named:
                if name in PICKLES | TORCH_PICKLES:
                    yield f"{module.name}:{node.lineno} uses {name}"


def strange_bytes(house: House) -> Iterator[str]:
    """Whatever unpacks archives or decodes pictures and arrays outside the room with the limits."""
    for module in house.values():
        for node in ast.walk(module.tree) if module.package != "formats" else ():
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                named = [(node.module or "").split(".")[0]]
            elif isinstance(node, ast.Attribute):
                named = [ast.unparse(node)]
            for name in named:
                if name in UNPACKS:
                    yield f"{module.name}:{node.lineno} uses {name}, which is for formats"


def surroundings(house: House) -> Iterator[str]:
    """Environment variables read elsewhere than in the one place that says what each means."""
    for module in house.values():
        for node in ast.walk(module.tree) if module.name != "koopstep.core.environment" else ():
            named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if named in ("environ", "environb", "getenv", "putenv"):
                yield f"{module.name}:{node.lineno} uses os.{named}, which is for koopstep.core.environment"


def prints(house: House) -> Iterator[str]:
    for module in house.values():
        for node in ast.walk(module.tree):
            if (
                module.package != "cli"
                and isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            ):
                yield f"{module.name}:{node.lineno} prints; only cli talks to the terminal"


Rule = Callable[[House], Iterator[str]]
RULES: tuple[Rule, ...] = (
    unknown_rooms,
    upward_arrows,
    circles,
    late_imports,
    relative_imports,
    sizes,
    foreign_code,
    strange_bytes,
    surroundings,
    prints,
)


@pytest.fixture(scope="module")
def house() -> House:
    found = read_package(SOURCE)
    assert "koopstep" in found, f"no package under {SOURCE}"
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule, house: House) -> None:
    broken = list(rule(house))
    assert not broken, "\n".join(broken)


LONG_FUNCTION = "def f() -> None:\n" + "    pass\n" * 60


@pytest.mark.parametrize(
    ("rule", "sources"),
    [
        (unknown_rooms, {"koopstep.core.utils": ""}),
        (unknown_rooms, {"koopstep.attic.box": ""}),
        (upward_arrows, {"koopstep.core.a": "from koopstep.data.store import Store"}),
        (upward_arrows, {"koopstep.core.a": "import koopstep.data.store"}),
        (upward_arrows, {"koopstep.core.a": "def f():\n    from koopstep.cli import main"}),
        (upward_arrows, {"koopstep.nets.a": "from koopstep.operators.base import Operator"}),
        (upward_arrows, {"koopstep.operators.a": "import koopstep.nets.mlp"}),
        (upward_arrows, {"koopstep.core.a": "import koopstep.formats.npz"}),
        (upward_arrows, {"koopstep.features.a": "import koopstep.teachers.base"}),
        (upward_arrows, {"koopstep.evaluation.a": "import koopstep.students.student"}),
        (upward_arrows, {"koopstep.analysis.a": "import koopstep.figures.points"}),
        (upward_arrows, {"koopstep.cli.a": "from koopstep import KoopmanStudent"}),
        (
            circles,
            {
                "koopstep.core.a": "from koopstep.core.b import y",
                "koopstep.core.b": "from koopstep.core import a",
            },
        ),
        (late_imports, {"koopstep.data.a": "def f():\n    from koopstep.core.noise import gaussian"}),
        (relative_imports, {"koopstep.data.a": "from .store import Store"}),
        (sizes, {"koopstep.core.a": "x = 1\n" * 301}),
        (sizes, {"koopstep.core.a": LONG_FUNCTION}),
        (foreign_code, {"koopstep.core.a": "import pickle"}),
        (foreign_code, {"koopstep.core.a": "from pickle import loads"}),
        (foreign_code, {"koopstep.core.a": "import torch\nx = torch.load('f', weights_only=True)"}),
        (foreign_code, {"koopstep.core.a": "from torch import load"}),
        (foreign_code, {"koopstep.core.a": "exec('1')"}),
        (foreign_code, {"koopstep.core.a": "eval('1')"}),
        (foreign_code, {"koopstep.core.a": "import numpy as np\nx = np.load('f', allow_pickle=True)"}),
        (foreign_code, {"koopstep.core.a": "import numpy as np\nx = np.load('f', allow_pickle=trust)"}),
        (strange_bytes, {"koopstep.data.a": "import zipfile"}),
        (strange_bytes, {"koopstep.data.a": "from gzip import open"}),
        (strange_bytes, {"koopstep.editing.a": "from PIL import Image\nx = Image.open('a.png')"}),
        (strange_bytes, {"koopstep.data.a": "import numpy as np\nx = np.load('f', allow_pickle=False)"}),
        (surroundings, {"koopstep.cli.a": "import os\nos.environ['X'] = '1'"}),
        (surroundings, {"koopstep.data.a": "from os import getenv\nx = getenv('X')"}),
        (prints, {"koopstep.core.a": "print(1)"}),
    ],
)
def test_each_rule_sees_what_breaks_it(rule: Rule, sources: dict[str, str]) -> None:
    assert list(rule(build(sources)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_objects_to_a_good_house(rule: Rule) -> None:
    good = build(
        {
            "koopstep": "from koopstep.data.store import Store",
            "koopstep.core": '"""Ground."""',
            "koopstep.core.noise": "m.eval()",
            "koopstep.formats.a": "import pickletools, zipfile\nnp.load('f', allow_pickle=False)",
            "koopstep.data.store": "from koopstep.core import noise\nfrom koopstep.core.files import f",
            "koopstep.cli.main": "def main():\n    from koopstep.workflows.demo import demo\n    print(demo)",
            "koopstep.workflows.demo": "def demo():\n    from koopstep.data.store import Store",
        }
    )
    assert not list(rule(good))


def test_no_two_test_files_have_one_name() -> None:
    # pytest imports them by name alone, so that a pair of one name fails only where both are collected
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
