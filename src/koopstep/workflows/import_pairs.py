"""``koopstep data import``: pairs and paths made elsewhere, brought into a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from koopstep.core.arguments import AnyPath, checked
from koopstep.core.job import working
from koopstep.core.outputs import check_not_input
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.data.importers import import_source
from koopstep.data.pair_arrays import PairSource
from koopstep.data.pairs import LayoutName
from koopstep.data.store import Store
from koopstep.workflows.collect import store_info


@checked
def import_pairs(
    source: PairSource,
    out: AnyPath,
    *,
    hold_out: int | None = None,
    layout: LayoutName = "auto",
    data_range: DataRange | None = PLAIN,
    name: str | None = None,
    quiet: bool = False,
) -> Store:
    """Bring pairs or whole paths that were made elsewhere into a store.

    Args:
        source: a file or folder (an ``.npz`` or ``.safetensors`` with arrays ``noise`` and ``data`` of shape (N, *shape), and
            perhaps ``class_labels``; a ``.npy`` of shape (states, N, *shape), noise first and data last; a folder of KDM's
            ``.npz`` pairs; FastGen's tars), or tensors and arrays: ``(noise, data)``, ``(noise, data, class_labels)``, these
            by name, or one of shape (states, N, *shape).
        out: the store's folder.
        hold_out: paths kept from training, for evaluation; a tenth, at most 10,000, when absent.
        layout: of ``.npz`` pairs, where ``auto`` cannot tell.
        data_range: what black and white are, of images; None of data that are no images.
        name: what the teacher that made them is called.
        quiet: no words on standard error.

    Raises:
        UsageError: what cannot be imported: no such data, shapes that contradict each other, NaN.
        DamagedError: a file is damaged.

    Example:
        >>> store = koopstep.import_pairs((noise, data), "paths")
    """
    with working(None, "cpu", quiet) as job:
        import_store(source, Path(out), hold_out=hold_out, layout=layout, data_range=data_range, name=name)
        store = Store.open(out)
        job.console.say(f"{len(store):,} paths imported into {out}")
    return store


def import_store(
    source: PairSource,
    out: Path,
    *,
    hold_out: int | None,
    layout: LayoutName,
    data_range: DataRange | None = PLAIN,
    name: str | None = None,
    num_classes: int | None = None,
) -> dict[str, Any]:
    """Bring pairs or paths made elsewhere into a store."""
    check_not_input(out, [Path(source)] if isinstance(source, str | os.PathLike) else [])
    report = import_source(source, out, hold_out, layout, data_range, name, num_classes)
    return store_info(out) | {"layout": report.layout, "noise_scale": report.noise_scale, "root": report.root}
