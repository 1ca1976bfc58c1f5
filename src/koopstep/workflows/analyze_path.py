"""The analyses of students of whole paths: figures and the numbers behind them, from held-out rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.bands import (
    CHANCE,
    Band,
    band_effects,
    chance_effects,
    finest,
    level_effects,
    require_rates,
    stands_out,
    tied,
)
from koopstep.analysis.cumulative import cumulative
from koopstep.analysis.frequencies import radial_profile, radii
from koopstep.analysis.linearity import linearity
from koopstep.analysis.modes import BANDS, ORDERS, Order, rates_of
from koopstep.analysis.trajectory import film
from koopstep.analysis.vicinity import SIGMAS, unrelated, vicinity
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch
from koopstep.features.extract import Eyes
from koopstep.features.lpips import has_lpips
from koopstep.figures import lines as figures
from koopstep.figures.films import cloud_frames, moving_picture
from koopstep.figures.points import clouds
from koopstep.figures.tables import picture_rows
from koopstep.operators.spectrum import Spectrum
from koopstep.students.student import KoopmanStudent
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import load_teacher
from koopstep.workflows.console import Quiet
from koopstep.workflows.evaluate import Comparison
from koopstep.workflows.run import OpenRun

Result = tuple[list[Path], dict[str, Any]]

WORDS: dict[Order, str] = {"real": "growth α", "modulus": "|α + iβ|", "frequency": "turning |β|"}
"""What modes are sorted by, for titles."""

_ROWS, _LARGE_ROWS, _CLOUD = 256, 64, 2000  # rows of small images, of large ones (over 16 x 16), of vectors
_SHOWN = 10


def band_figures(compared: Comparison, folder: Path) -> Result:
    """Bands kept alone and dropped, for each order (HKD Fig. 4), and how fine each one's effect is."""
    student, batch = compared.run.student, held_out(compared)
    require_rates(student)
    labels = batch.class_labels
    with torch.no_grad():
        start = student.encode(batch.states[0], 0.0, labels)
        end = student.evolve(start, 1.0, labels)
    rates = rates_of(student, start)
    whole, found = band_effects(student, end, labels, ORDERS, rates=rates)
    chance = chance_effects(student, end, labels)
    values: dict[str, Any] = {"gauge": gauge_of(student.spectrum())}
    by_level: dict[str, dict[str, list[float]]] = {}
    few = min(len(whole), _LARGE_ROWS)
    part = tuple(level[:few] for level in end)
    for order in ORDERS:
        effects = level_effects(student, part, None if labels is None else labels[:few], rates, order)
        by_level[f"by {WORDS[order]}"] = {band: effects[:, place].tolist() for place, band in enumerate(BANDS)}
        values[order] = _order_values(found, order) | {
            "tied_share": tied(rates, order),
            "effect_by_level": dict(zip(student.level_names, effects.tolist(), strict=True)),
        }
    values[CHANCE] = _order_values(chance, CHANCE)
    files = [_band_rows(folder, order, whole, found, values["gauge"]) for order in ORDERS]
    files.append(
        figures.bars(
            folder / "bands_by_level.png",
            by_level,
            student.level_names,
            up="mean squared change",
            title="change of the sample when a third of one level's modes is dropped",
        )
    )
    if whole.ndim == 4:
        files.append(_profiles(folder / "bands_profile.png", whole, found, chance))
    return files, values


def _order_values(found: list[Band], order: str) -> dict[str, Any]:
    values: dict[str, Any] = {band.band: band.summary() for band in found if band.order == order}
    return values | {"highest_frequency_band": finest(found, order), "stands_out": stands_out(found, order)}


def _band_rows(folder: Path, order: Order, whole: Tensor, found: list[Band], gauge: str) -> Path:
    """The figure of one order: images in rows, or clouds of points."""
    bands = [band for band in found if band.order == order]
    path, title = folder / f"bands_{order}.png", f"thirds of the modes by {WORDS[order]}; gauge of the order: {gauge}"
    if whole.ndim != 4:
        panels = {"all modes": whole.flatten(1)[:, :2]}
        panels |= {f"only {band.band}": band.alone.flatten(1)[:, :2] for band in bands} | {"": whole}
        panels |= {f"without {band.band}": (whole - band.effect).flatten(1)[:, :2] for band in bands}
        return clouds(path, panels, title=title)
    reach = max(max(float(band.effect[:_SHOWN].abs().quantile(0.995)) for band in bands), 1e-6)
    rows = {"all modes": whole[:_SHOWN]} | {f"only {band.band}": band.alone[:_SHOWN] for band in bands}
    effects = {f"{band.band} adds": band.effect[:_SHOWN] / reach for band in bands}
    told = f"{title}\nadds: all modes less all without this third, ±{reach:.2g}"
    return picture_rows(path, rows | effects, title=told, signed=effects)


def _profiles(path: Path, whole: Tensor, found: list[Band], chance: list[Band]) -> Path:
    """Power of each band's effect by spatial frequency, with that of thirds by chance and of whole samples."""

    def line(images: Tensor) -> figures.Line:
        profile = radial_profile(images)
        power = profile if profile is None else profile * float(images.square().mean())
        return ([], []) if power is None else (radii(len(power)).tolist(), power.clamp(min=1e-12).tolist())

    drawn = torch.cat([band.effect for band in chance])
    panels = {
        f"thirds by {WORDS[order]}": {band.band: line(band.effect) for band in found if band.order == order}
        | {"thirds by chance": line(drawn), "whole samples": line(whole)}
        for order in ORDERS
    }
    return figures.curves_of(
        path,
        panels,
        across="spatial frequency, cycles a pixel",
        up="power within a ring",
        logarithmic=True,
        faint=("thirds by chance", "whole samples"),
        title="what a third adds to the sample, by spatial frequency",
    )


def cumulative_figures(compared: Comparison, folder: Path) -> Result:
    """Share and effect of each band along u."""
    student, batch = compared.run.student, held_out(compared)
    require_rates(student)
    found = {order: cumulative(student, batch.states[0], batch.class_labels, order=order) for order in ORDERS}
    unit = "change of the state read at u, over its mean square" if student.codec.reads_path else "change when decoded"
    panels: dict[str, dict[str, figures.Line]] = {}
    for order, curves in found.items():
        panels[f"share of the latent, by {WORDS[order]}"] = {band: (curves.u, curves.energy[band]) for band in BANDS}
    for order, curves in found.items():
        panels[f"{unit}" + " " * ORDERS.index(order)] = {band: (curves.u, curves.decoded[band]) for band in BANDS}
    gauge = gauge_of(student.spectrum())
    title = f"each third of the modes along the path; gauge of shares and of the order: {gauge}"
    path = figures.curves_of(folder / "cumulative.png", panels, across="u (0: noise, 1: data)", title=title)
    return [path], {order: curves.summary() for order, curves in found.items()} | {"gauge": gauge}


def linearity_figures(compared: Comparison, folder: Path) -> Result:
    """Latent and decoded errors along the path."""
    found = linearity(compared.run.student, held_out(compared))
    latent = {name: (found.u, found.latent[index].tolist()) for index, name in enumerate(found.levels)}
    if len(latent) > 1:
        latent["mean over levels"] = (found.u, found.latent.mean(dim=0).tolist())
    latent["without evolution"] = (found.u, found.still.mean(dim=0).tolist())
    decoded = {"from each state to the end": (found.u, found.end.tolist())}
    if found.read is not None:
        decoded["from noise to each state, over its mean square"] = (found.u, found.read.tolist())
    path = figures.curves_of(
        folder / "linearity.png",
        {"relative error of the latent": latent, "mean squared error, decoded": decoded},
        across="u (0: noise, 1: data)",
        faint=("mean over levels", "without evolution"),
        title="the student's straight path against the teacher's states",
    )
    return [path], found.summary()


def vicinity_figures(compared: Comparison, folder: Path) -> Result:
    """Noise moved a little, for teacher and student (KDM Fig. 3)."""
    run, batch = compared.run, held_out(compared, 64)
    facts, labels = run.student.facts, batch.class_labels
    noise, steps = batch.noise, compared.store.manifest.steps
    other = gaussian(99, range(len(noise)), facts.shape).to(noise)
    generators = {"student": lambda x: run.student.generate(x, labels)}
    teacher = own_teacher(run, noise.device)
    if teacher is not None:
        generators = {"teacher": lambda x: teacher.path(x, labels, steps=steps)[-1], **generators}
    distances = {"mean squared distance": lambda a, b: float((a - b).square().mean())}
    image = len(facts.shape) == 3 and facts.shape[0] in (1, 3)
    if image and min(facts.shape[1:]) >= 32 and has_lpips("squeeze"):
        eyes = Eyes(noise.device, Quiet().bar)
        distances["LPIPS"] = lambda a, b: float(eyes.distance(a, b).mean())
    found = vicinity(generators, noise, other, distances)
    chance = {what: unrelated(found.samples["student"][0], distance) for what, distance in distances.items()}
    panels = {
        what: {name: (found.sigmas, values[what]) for name, values in found.distances.items()}
        | {"unrelated noise": (found.sigmas, [chance[what]] * len(found.sigmas))}
        for what in distances
    }
    across, title = "s, of (noise + s other) / √(1 + s²)", "distance to the sample of the noise that was not moved"
    files = [figures.curves_of(folder / "vicinity.png", panels, across=across, faint=("unrelated noise",), title=title)]
    heads = [f"s = {sigma:g}" for sigma in SIGMAS]
    path = folder / "vicinity_samples.png"
    if image:
        rows = {f"{name} {row + 1}": samples[:, row] for row in range(3) for name, samples in found.samples.items()}
        files.append(picture_rows(path, rows, columns=heads))
    elif facts.shape == (2,):
        sets = {
            f"{name}, {head}": samples[place]
            for name, samples in found.samples.items()
            for place, head in enumerate(heads)
        }
        files.append(clouds(path, sets, columns=len(heads)))
    return files, found.summary() | {"unrelated": chance, "teacher_at_hand": teacher is not None}


def trajectory_figures(compared: Comparison, folder: Path) -> Result:
    """The student's straight path, read at every u, beside the teacher's stored states; a film strip and a GIF.

    Raises:
        UsageError: if the data is neither images nor points.
    """
    student = compared.run.student
    image = len(student.facts.shape) == 3
    if not image and student.facts.shape != (2,):
        raise UsageError("a film is made of images or points; for other data look at `koopstep analyze RUN linearity`")
    found = film(student, held_out(compared, 6 if image else _CLOUD), columns=13 if image else 7)
    beside = found.beside()
    if found.reads_path:
        title = "states at unit size; the student's read at u"
    else:
        title = "the student's latents at u, decoded as if at the end; the teacher's states at unit size"
    heads = [f"u = {u:.2f}" for u in found.u]
    pairs = [found.frames] if beside is None else [beside, found.frames]
    if image:
        rows: dict[str, Tensor] = {}
        for row in range(3):
            rows |= {f"teacher {row + 1}": found.teacher[:, row], f"student {row + 1}": found.student[:, row]}
        strip = picture_rows(folder / "trajectory.png", rows, columns=heads, title=title)
        frames = torch.stack(pairs, dim=1)
    else:
        sets = {f"teacher, {head}": points for head, points in zip(heads, found.teacher, strict=True)}
        sets |= {f"student, {head}": points for head, points in zip(heads, found.student, strict=True)}
        last = found.student[-1]
        strip = clouds(folder / "trajectory.png", sets, colours=last, columns=len(heads), title=title)
        reach = 1.1 * max(float(points.abs().flatten()[:100_000].quantile(0.995)) for points in pairs)
        dotted = [cloud_frames(points, reach) for points in pairs]
        frames = torch.stack(dotted, dim=1)[:, :, None]
    return [strip, moving_picture(folder / "trajectory.gif", frames)], found.summary()


def own_teacher(run: OpenRun, device: torch.device) -> Teacher | None:
    """The teacher that made the run's paths; None where its file is not at hand, or is another one by now."""
    if run.config is None or not run.config.teacher_sha256:
        return None
    try:
        found = load_teacher(run.config.recipe.teacher.file, device)
    except UsageError:
        return None
    return found.teacher if found.sha256 == run.config.teacher_sha256 else None


def held_out(compared: Comparison, most: int | None = None) -> Batch:
    """The first held-out rows, as many as a decode-heavy analysis can take, on the student's device."""
    student: KoopmanStudent = compared.run.student
    shape = student.facts.shape
    small = len(shape) < 3 or max(shape[1:]) <= 16
    count = most or (_CLOUD if len(shape) < 3 else _ROWS if small else _LARGE_ROWS)
    return compared.batch[slice(0, count)].to(next(student.parameters()).device)


def gauge_of(spectra: list[Spectrum]) -> str:
    """``free``, or ``fixed by`` what."""
    fixed = all(spectrum.gauge == "fixed" for spectrum in spectra)
    return f"fixed by {spectra[0].pinned_by}" if fixed else "free"
