"""The analyses of students of whole paths: figures and the numbers behind them, from held-out rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis import path_figures as figures
from koopstep.analysis.bands import Band, band_effects, finest, radii
from koopstep.analysis.cumulative import cumulative
from koopstep.analysis.linearity import linearity
from koopstep.analysis.modes import BANDS, ORDERS, level_operators, rates_of
from koopstep.analysis.vicinity import SIGMAS, vicinity
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch
from koopstep.evaluation.features import Eyes
from koopstep.nets.features.lpips import has_lpips
from koopstep.students.student import KoopmanStudent, Latent
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import load_teacher
from koopstep.workflows.console import Quiet
from koopstep.workflows.evaluate import Comparison
from koopstep.workflows.run import OpenRun

Result = tuple[list[Path], dict[str, Any]]

_ROWS, _SHOWN, _CLOUD = 256, 10, 2000


def band_figures(compared: Comparison, folder: Path) -> Result:
    """Bands kept alone and dropped, for each order (HKD Fig. 4), and how fine each one's effect is."""
    student = compared.run.student
    batch, latent = _evolved(compared)
    whole, found = band_effects(student, latent, batch.class_labels, ORDERS)
    image = whole.ndim == 4
    shown = slice(0, _SHOWN if image else _CLOUD)
    files: list[Path] = []
    values: dict[str, Any] = {}
    for order in ORDERS:
        of_order = [band for band in found if band.order == order]
        rows = {"whole": whole[shown]}
        rows |= {f"{band.band} only": band.alone[shown] for band in of_order}
        rows |= {
            f"effect of {band.band}" if image else f"without {band.band}": _shown(band, whole)[shown]
            for band in of_order
        }
        title = f"thirds of the modes by {order}"
        files.append(figures.picture_rows(folder / f"bands_{order}.png", rows, title=title))
        values[order] = {band.band: band.summary() for band in of_order} | {
            "highest_frequency_band": finest(found, order)
        }
    if image:
        panels = {
            f"by {order}": {
                band.band: (radii(len(band.profile)).tolist(), band.profile.clamp(min=1e-9).tolist())
                for band in found
                if band.order == order and band.profile is not None
            }
            for order in ORDERS
        }
        across = "spatial frequency, cycles a pixel"
        files.append(figures.curves_of(folder / "bands_profile.png", panels, across=across, logarithmic=True))
    return files, values


def _shown(band: Band, whole: Tensor) -> Tensor:
    """Of images the effect itself, enlarged to be seen; of points the samples without the band."""
    if whole.ndim != 4:
        return whole - band.effect
    return band.effect / max(float(band.effect.abs().quantile(0.99)), 1e-6)


def cumulative_figures(compared: Comparison, folder: Path) -> Result:
    """Share and effect of each band along u."""
    student, batch = compared.run.student, compared.batch[slice(0, _ROWS)]
    found = {order: cumulative(student, batch.states[0], batch.class_labels, order=order) for order in ORDERS}
    files = []
    for order, curves in found.items():
        panels = {
            f"share of the latent, by {order}": {band: (curves.u, curves.energy[band]) for band in BANDS},
            "change of the sample without the band": {band: (curves.u, curves.decoded[band]) for band in BANDS},
        }
        files.append(figures.curves_of(folder / f"cumulative_{order}.png", panels, across="u"))
    return files, {order: curves.summary() for order, curves in found.items()}


def linearity_figures(compared: Comparison, folder: Path) -> Result:
    """Latent and decoded errors along the path."""
    found = linearity(compared.run.student, compared.batch[slice(0, _ROWS)])
    latent = {name: (found.u, found.latent[index].tolist()) for index, name in enumerate(found.levels)}
    decoded = {"every state to the end": (found.u, found.end.tolist())}
    if found.read is not None:
        decoded["noise to every state, over its mean square"] = (found.u, found.read.tolist())
    panels = {"relative latent error along the path": latent, "decoded error (mean squares)": decoded}
    return [figures.curves_of(folder / "linearity.png", panels, across="u")], found.summary()


def vicinity_figures(compared: Comparison, folder: Path) -> Result:
    """Noise moved a little, for teacher and student (KDM Fig. 3)."""
    run, batch = compared.run, compared.batch[slice(0, 64)]
    facts, labels = run.student.facts, batch.class_labels
    noise = batch.states[0] / facts.noise_scale
    other = gaussian(99, range(len(noise)), facts.shape).to(noise)
    steps = compared.store.manifest.steps
    generators = {"student": lambda x: run.student.generate(x, labels)}
    teacher = own_teacher(run, noise.device)
    if teacher is not None:
        generators = {"teacher": lambda x: teacher.path(x, labels, steps=steps)[-1], **generators}
    distances = {"mean squared distance": lambda a, b: float((a - b).square().mean())}
    image = len(facts.shape) == 3
    if image and min(facts.shape[1:]) >= 32 and facts.shape[0] in (1, 3) and has_lpips("squeeze"):
        eyes = Eyes(torch.device("cpu"), Quiet().bar)
        distances["LPIPS"] = lambda a, b: float(eyes.distance(a.clone(), b.clone()).mean())
    found = vicinity(generators, noise, other, distances)
    panels = {
        what: {name: (found.sigmas, values[what]) for name, values in found.distances.items()} for what in distances
    }
    files = [figures.curves_of(folder / "vicinity.png", panels, across="sigma")]
    if image:
        rows = {f"{name} {row + 1}": samples[:, row] for row in range(3) for name, samples in found.samples.items()}
        heads = [f"{sigma:g}" for sigma in SIGMAS]
        files.append(figures.picture_rows(folder / "vicinity_samples.png", rows, heads=heads))
    return files, found.summary() | {"teacher_at_hand": teacher is not None}


def trajectory_figures(compared: Comparison, folder: Path) -> Result:
    """The student's straight path, read at every u, above the teacher's stored states; a film strip and a GIF."""
    student, batch = compared.run.student, compared.batch[slice(0, 6)]
    level_operators(student)
    labels, progress = batch.class_labels, batch.progress.tolist()
    if len(student.facts.shape) != 3:
        raise UsageError("a film strip is made of images; for points look at `analyze linearity`")
    reads = student.codec.reads_path
    sizes = [float(student.codec.state_size(torch.full((1,), u))[0]) for u in progress]

    def read(u: float) -> Tensor:
        latent = student.evolve(student.encode(batch.states[0], 0.0, labels), u, labels)
        return student.decode(latent, u if reads else 1.0, labels)

    with torch.no_grad():
        ours = torch.stack([read(u) for u in progress])
        film = torch.stack([read(k / 24) for k in range(25)])
        film_sizes = student.codec.state_size(torch.arange(25) / 24)
    unit = student.facts.data_scale
    theirs = torch.stack([state / size * unit for state, size in zip(batch.states, sizes, strict=True)])
    if reads:
        ours = torch.stack([state / size * unit for state, size in zip(ours, sizes, strict=True)])
        film = film / film_sizes.view(-1, 1, 1, 1, 1) * unit
    rows: dict[str, Tensor] = {}
    for row in range(3):
        rows |= {f"teacher {row + 1}": theirs[:, row], f"student {row + 1}": ours[:, row]}
    title = (
        "states at unit size" if reads else "the teacher's states at unit size; the student's decoded as if at the end"
    )
    heads = [f"{u:.2f}" for u in progress]
    files = [
        figures.picture_rows(folder / "trajectory.png", rows, heads=heads, title=title),
        figures.moving_picture(folder / "trajectory.gif", film.cpu()),
    ]
    return files, {"u": progress, "reads_path": reads}


def spectrum_of_levels(compared_or_run: OpenRun, folder: Path, gauge: str) -> list[Path]:
    """Maps of the rates over the image, for the levels that have places; nothing for other students."""
    student = compared_or_run.student
    if len(student.facts.shape) != 3 or not student.level_names[-1].endswith("bottleneck"):
        return []
    names, rates = [], []
    for name, level in zip(student.level_names, rates_of(student), strict=True):
        if bool((level.alpha != level.alpha[:, :1, :1]).any()):
            names.append(name)
            rates.append(level)
    return [figures.rate_maps(folder / "rates.png", names, rates, gauge)] if names else []


def own_teacher(run: OpenRun, device: torch.device) -> Teacher | None:
    """The teacher that made the run's paths; None where its file is not at hand, or is another one by now."""
    if run.config is None or not run.config.teacher_sha256:
        return None
    try:
        found = load_teacher(run.config.recipe.teacher.file, device)
    except UsageError:
        return None
    return found.teacher if found.sha256 == run.config.teacher_sha256 else None


def _evolved(compared: Comparison) -> tuple[Batch, Latent]:
    """Held-out rows and their latents at u = 1."""
    student: KoopmanStudent = compared.run.student
    level_operators(student)
    image = len(student.facts.shape) == 3
    batch = compared.batch[slice(0, _ROWS if image else _CLOUD)]
    with torch.no_grad():
        start = student.encode(batch.states[0], 0.0, batch.class_labels)
        return batch, student.evolve(start, 1.0, batch.class_labels)
