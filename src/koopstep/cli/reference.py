"""The command reference in Markdown, read from the tree of commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from koopstep.cli.failures import EXIT_CODES
from koopstep.cli.main import build
from koopstep.core.environment import DEBUG_VARIABLE

_HEAD = f"""# Commands

Made from the command line by `python scripts/make_command_docs.py`; do not edit.

With `--json` the last line of standard output is one JSON object and everything for people goes to standard error.
Numbers that are not finite are `null` there. Progress always goes to standard error: a bar on a terminal, else a line
every ten seconds. A failure is one line on standard error; `{DEBUG_VARIABLE}=1` adds the traceback.

The first Ctrl-C or SIGTERM lets `demo`, `distil`, `collect`, `train` and `teacher train` save and end with 75; a second Ctrl-C
ends them at once. The same command (for `train` with `--resume`) goes on from there.

| exit code | meaning |
|---|---|
"""


def render() -> str:
    """The whole page."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return _HEAD + codes + "".join(_command(path, command) for path, command in _leaves("koopstep", build()))


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    path = " ".join([path, *(p.metavar for p in command.params if p.param_type_name == "argument")])
    for name, sub in inner.items():
        if sub.hidden:  # another spelling
            continue
        yield from _leaves(f"{path} {name}", sub)


def _command(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    needed = [f"{option.opts[0]} {option.metavar}" for option in options if option.required]
    usage = " ".join([path, *(argument.metavar for argument in arguments), *needed, "[OPTIONS]"])
    about = "\n".join(line.strip() for line in (command.help or "").replace("\b\n", "").splitlines())
    rows = [f"| `{_cell(argument.metavar.strip('[]'))}` | {_help(argument)} |" for argument in arguments]
    rows += [f"| `{_cell(_flags(option))}` | {_help(option)} |" for option in options]
    return "\n".join(
        [f"\n## {path}", "", "```", usage, "```", "", about, "", "| | |", "|---|---|", *rows, "", command.epilog, ""]
    )


def _flags(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar}"


def _help(parameter: Any) -> str:
    text = _cell(parameter.help or "").replace("*", "\\*")
    if parameter.required:
        return f"{text} Required."
    default = parameter.default
    if default is True and parameter.secondary_opts:
        return f"{text} Default: `{parameter.opts[0]}`."
    if default is None or default is False:
        return text
    return f"{text} Default: `{default}`."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
