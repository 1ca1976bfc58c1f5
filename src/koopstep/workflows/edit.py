"""``koopstep edit``: mixing modes of a picture, and filling in what is missing of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder, write_json
from koopstep.workflows.console import Console
from koopstep.workflows.edit_fill import fill_pictures
from koopstep.workflows.edit_images import EditOptions, check_options
from koopstep.workflows.edit_mix import mix_modes
from koopstep.workflows.run import open_run

EDITS: dict[str, str] = {
    "mix": "modes of a reference, mixed into a part of a generated picture",
    "inpaint": "a missing part of a real picture, filled in",
    "colorize": "the colours of a real picture, from its grey values",
    "superres": "a real picture, from its means over squares of pixels",
}


def edit_run(
    run: Path, what: str, *, options: EditOptions, out: Path | None, place: Place, console: Console
) -> dict[str, Any]:
    """Make one kind of edit with a run's student; figures, pictures and ``values.json`` go to ``out``.

    Args:
        run: run or student folder.
        what: one of :data:`EDITS`.
        options: settings.
        out: folder; ``report/WHAT`` of the run when absent.
        place: the device.
        console: where words go.

    Raises:
        UsageError: on an unknown edit, settings or pictures that do not fit, or a student that cannot do it.
    """
    if what not in EDITS:
        raise UsageError(f"unknown edit {what!r}; known: {', '.join(EDITS)}")
    check_options(what, options)
    opened = open_run(run, place.device)
    if len(opened.student.facts.shape) != 3:
        raise UsageError(f"editing is for images; this student makes vectors of shape {opened.student.facts.shape}")
    folder = out or run / "report" / what
    make_folder(folder)
    if what == "mix":
        files, values = mix_modes(opened, options, folder, place.device, console)
    else:
        files, values = fill_pictures(opened, what, options, folder, place.device, console)
    write_json(folder / "values.json", values)
    return {"files": [str(file) for file in [*files, folder / "values.json"]], "values": values}
