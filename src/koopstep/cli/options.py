"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from koopstep.core.errors import UsageError


def import_named(names: list[str] | None) -> list[str] | None:
    """Import Python code that the user names, so that what it registers is known."""
    if names:
        from koopstep.core.user_code import import_code

        for name in names:
            import_code(name)
    return names


Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        callback=import_named,
        is_eager=True,
        help="Code of your own to import first (package.module or file.py): what it registers is known; repeatable. "
        "$KOOPSTEP_IMPORT names some for every command.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="End standard output with one JSON object; text goes to standard error."),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="cpu, cuda or cuda:N; else $KOOPSTEP_DEVICE, else cuda where there is one, else cpu.",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a student folder.")]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="F",
        help="Real data to compare with (name, folder, .zip, .npz, .npy); else what the run was given, or its teacher saw.",
    ),
]
OwnTeacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="T",
        help="The run's teacher, to compare with: a file, or package.module:function; else it is looked for.",
    ),
]
Teacher = Annotated[
    str,
    typer.Argument(
        metavar="TEACHER",
        help="Packaged name, teacher file, EDM pickle, diffusers folder, state dict, or package.module:function.",
    ),
]
Store = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a trajectory store.")]
Method = Annotated[
    str, typer.Option("--method", metavar="M", help="How the student learns; `koopstep presets` lists them.")
]
ChosenMethod = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="M",
        help="How the student learns (`koopstep presets` lists them); else what the file says, else kdm.",
        show_default=False,
    ),
]
Preset = Annotated[
    str,
    typer.Argument(
        metavar="PRESET",
        help="Where settings come from: a name (`koopstep presets` lists them) or your own .yaml file.",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        metavar="KEY=VALUE",
        help="Change one setting, as in `-o training.steps=500`; repeatable.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Seed = Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Seed of the noise.")]
Steps = Annotated[
    int,
    typer.Option(
        "--steps", metavar="K", min=1, help="Network evaluations a sample; above 1 for students that know their path."
    ),
]
Between = Annotated[
    Literal["noise", "path"],
    typer.Option(
        "--between",
        metavar="noise|path",
        help="From step to step: make the sample noisy again, or read the path's next state (hkd+).",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Write over what is at --out; else it must be new (a folder: or empty).")
]
HoldOut = Annotated[
    int | None,
    typer.Option("--hold-out", metavar="N", min=0, help="Rows kept from training; else a tenth, at most 10,000."),
]


def split_names(text: str | None, option: str) -> list[str] | None:
    """``"a,b"`` -> ``["a", "b"]``; None stays None.

    Raises:
        UsageError: if a name is empty.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"{option} takes names separated by commas, got {text!r}")
    return names


def split_integers(text: str | None, option: str) -> list[int] | None:
    """``"0,1,2"`` -> ``[0, 1, 2]``; None stays None.

    Raises:
        UsageError: if a part is no integer.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} takes integers separated by commas, as in 3 or 0,1,2; got {text!r}") from None
