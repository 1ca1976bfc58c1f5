"""The entry point: runs one command, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from koopstep.cli import (
    analyze,
    collect,
    compare,
    data,
    demo,
    distil,
    edit,
    evaluate,
    presets,
    report,
    sample,
    teacher,
    train,
)
from koopstep.cli.failures import EXIT_CODES, Failure, describe, one_line
from koopstep.cli.options import import_named
from koopstep.core.environment import imports, launched, wants_traceback
from koopstep.core.errors import Interrupted
from koopstep.core.streams import Lossy, tolerant

_PROGRAM = "koopstep"
# Under every version of typer this is the ancestor of "no such option", "missing argument" and their like.
_UsageProblem: Any = typer.BadParameter.__bases__[0]
_CTRL_C = 130  # what newer versions of typer return for KeyboardInterrupt; older ones raise Abort


def version_text() -> str:
    """``koopstep 0.1.0``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{_PROGRAM} {version('koopstep')}"
    except PackageNotFoundError:
        return f"{_PROGRAM} (from source, not installed)"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_text())
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Distil a diffusion or flow-matching model into one step, as a linear evolution one can read and edit.

    Start with `koopstep demo`: it goes the whole way on built-in data and ends with a report.
    """


def build() -> Any:
    """The tree of commands."""
    settings = {"help_option_names": ["-h", "--help"]}
    epilog = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
    app = typer.Typer(
        name=_PROGRAM,
        callback=_root,
        epilog=epilog,
        context_settings=settings,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.command("demo", epilog=demo.JSON_KEYS)(demo.demo)
    app.command("distil", epilog=distil.JSON_KEYS)(distil.distil)
    app.command("distill", epilog=distil.JSON_KEYS, hidden=True)(distil.distil)
    app.command("presets", epilog=presets.JSON_KEYS)(presets.presets)
    app.add_typer(teacher.commands, name="teacher")
    app.command("collect", epilog=collect.JSON_KEYS)(collect.collect)
    app.add_typer(data.commands, name="data")
    app.command("train", epilog=train.JSON_KEYS)(train.train)
    app.command("sample", epilog=sample.JSON_KEYS)(sample.sample)
    app.command("evaluate", epilog=evaluate.JSON_KEYS)(evaluate.evaluate)
    app.command("analyze", help=analyze.HELP, epilog=analyze.JSON_KEYS)(analyze.analyze)
    app.add_typer(edit.commands, name="edit")
    app.command("report", epilog=report.JSON_KEYS)(report.report)
    app.command("compare", epilog=compare.JSON_KEYS)(compare.compare)
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong has been said on standard error."""
    with warnings.catch_warnings():
        warnings.showwarning = _say_warning
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        import_named(imports())
        code = build().main(args=list(arguments) or ["--help"], prog_name=_PROGRAM, standalone_mode=False)
    except _UsageProblem as error:
        return _fail(Failure(_usage_line(error), 2))
    except typer.Abort:
        return _fail(describe(KeyboardInterrupt()))
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, Interrupted) and launched().rank:
            return error.exit_code  # every process stops at the same step, and the first says so
        if wants_traceback():
            traceback.print_exc()
        return _fail(describe(error))
    if code == _CTRL_C:
        return _fail(describe(KeyboardInterrupt()))
    return int(code or 0)


def _usage_line(error: Any) -> str:
    message = one_line(error.format_message())
    if error.ctx is not None and message == "Missing command.":
        message = f"Missing command: {', '.join(error.ctx.command.commands)}"
    place = error.ctx.command_path.replace("{RUN}", "RUN") if error.ctx is not None else _PROGRAM
    takers = _takers(error)
    if takers:
        message = f"No such option: {error.option_name}, which is for {', '.join(takers)}"
    return f"{message.rstrip('.')}{'' if message.endswith('?') else ';'} see `{place} --help`"


def _takers(error: Any) -> list[str]:
    """Of an option that a command in a group does not know, the commands beside it that do."""
    option, context = getattr(error, "option_name", None), error.ctx
    if option is None or context is None or context.parent is None or context.parent.parent is None:
        return []  # the commands of koopstep itself have little in common
    commands = context.parent.command.commands.items()
    known = {
        name: {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        for name, command in commands
    }
    return [name for name, flags in known.items() if option in flags]


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {one_line(str(message))}")


def _fail(failure: Failure) -> int:
    _say(failure.line)
    return failure.exit_code


def _say(line: str) -> None:
    rank = launched().rank
    who = _PROGRAM if rank == 0 else f"{_PROGRAM} (process {rank})"
    Lossy(sys.stderr).write(f"{who}: {line}\n")


def main() -> None:
    """The ``koopstep`` command."""
    tolerant(sys.stdout)
    tolerant(sys.stderr)
    code = run(sys.argv[1:])
    if launched().by_torchrun:
        # under torchrun: gloo's threads may still run, and then the interpreter's own way out ends in an abort
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
