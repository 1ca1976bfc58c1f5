"""What edits start from and are measured by: settings, masks, real pictures, the teacher, and the perceptual distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from koopstep.analysis.modes import Order
from koopstep.core.errors import UsageError
from koopstep.core.noise import permutation
from koopstep.core.records import Found
from koopstep.data.sources import load_source, scaled
from koopstep.editing import masks
from koopstep.features.extract import LPIPS_NAME, Eyes, available
from koopstep.formats import images
from koopstep.sampling.onestep import sampling_labels
from koopstep.workflows.console import Quiet
from koopstep.workflows.origin import data_of_run, teacher_of_run
from koopstep.workflows.run import OpenRun

_HELD_OUT = {"mnist": "mnist-test", "cifar10": "cifar10-test"}
_SMALLEST_SEEN = 32  # pixels a side, below which LPIPS looks at enlarged pictures
_MOST_FOR_MEAN = 10_000


@dataclass(frozen=True)
class EditOptions:
    """Settings of an edit; None takes the edit's own default.

    Attributes:
        count: pictures.
        seed: of all noise, and of which real pictures are taken.
        mask: picture file; white is what is edited (``mix``) or missing (``inpaint``).
        rectangle: the same as corners; not beside ``mask``.
        moment: progress u in [0, 1): when modes are mixed, or where filling in starts.
        ratios, band, order, levels, reference, reencode, confine: of ``mix``.
        steps: network calls of filling in.
        factor: of ``superres``.
        image: real pictures, a file or a folder, instead of the run's data (``mix``: of generated pictures).
    """

    count: int | None = None
    seed: int = 0
    mask: Path | None = None
    rectangle: masks.Rectangle | None = None
    moment: float | None = None
    ratios: tuple[float, ...] = ()
    band: str | None = None
    order: Order | None = None
    levels: str = "all"
    reference: Path | None = None
    reencode: bool = False
    confine: bool = True
    steps: int | None = None
    factor: int | None = None
    image: Path | None = None


_ONLY_FOR = {
    "mask": ("mix", "inpaint"),
    "rectangle": ("mix", "inpaint"),
    "ratios": ("mix",),
    "band": ("mix",),
    "order": ("mix",),
    "levels": ("mix",),
    "reference": ("mix",),
    "reencode": ("mix",),
    "confine": ("mix",),
    "steps": ("inpaint", "colorize", "superres"),
    "image": ("mix", "inpaint", "colorize", "superres"),
    "factor": ("superres",),
}
_FLAGS = {"ratios": "--ratio", "confine": "--no-confine"}


def check_options(what: str, options: EditOptions) -> None:
    """Refuse settings that the edit ``what`` would not look at.

    Raises:
        UsageError: on the first of them, or two masks.
    """
    plain = EditOptions()
    for name, edits in _ONLY_FOR.items():
        if getattr(options, name) != getattr(plain, name) and what not in edits:
            raise UsageError(f"{_FLAGS.get(name, f'--{name}')} is for {' and '.join(edits)}, not for {what}")
    if options.mask is not None and options.rectangle is not None:
        raise UsageError("give --mask or --rectangle, not both")
    if options.count is not None and options.count < 1:
        raise UsageError(f"--count must be at least 1, got {options.count}")


def chosen_mask(options: EditOptions, height: int, width: int) -> Tensor | None:
    """The mask (H, W) that was asked for; None for the edit's own."""
    if options.mask is not None:
        return masks.read_mask(options.mask, height, width)
    return None if options.rectangle is None else masks.rectangle(options.rectangle, height, width)


@dataclass(frozen=True)
class Pictures:
    """Real pictures.

    Attributes:
        data: (N, C, H, W) float32 in [-1, 1].
        class_labels: (N,) int64 for conditional students, else None.
        told: where they come from, for people.
    """

    data: Tensor
    class_labels: Tensor | None
    told: str


def real_pictures(opened: OpenRun, options: EditOptions, count: int) -> Pictures:
    """Pictures to edit: those named, else some of the run's data that its teacher did not learn from, where there are any.

    Raises:
        UsageError: if they cannot be read, do not fit the student, or nothing says where to find any.
    """
    if options.image is not None:
        if options.image.is_file() and options.image.suffix.lower() not in (".zip", ".npz"):
            data, labels = masks.read_picture(options.image)[None], None
        else:
            data, labels = images.load(options.image)
        told = str(options.image)
        rows = torch.arange(len(data))[:count]
    else:
        source = data_of_run(opened).need("; name pictures with --image")
        unseen = _HELD_OUT.get(source.name)
        data, labels = (source if unseen is None else load_source(unseen)).reference()
        told = unseen or f"{source.name} (its teacher learned from these, too)"
        rows = torch.from_numpy(permutation(options.seed, len(data))[:count].copy())
    fitted = fit(data[rows], opened.student.facts.shape, told)
    return Pictures(fitted, _labels(opened, None if labels is None else labels[rows], len(rows), options.seed), told)


def fit(data: Tensor, shape: tuple[int, ...], where: str) -> Tensor:
    """Pictures (N, C, H, W), bytes or in [-1, 1], as the student's data; grey ones get three planes where it has three.

    Raises:
        UsageError: if their size is another, or they are coloured and the student's are grey.
    """
    channels, height, width = shape
    if tuple(data.shape[-2:]) != (height, width):
        raise UsageError(
            f"{where}: is {data.shape[-1]} x {data.shape[-2]} pixels, the student makes {width} x {height}; resize it"
        )
    if data.shape[1] == 1:
        data = data.expand(-1, channels, -1, -1)
    if data.shape[1] != channels:
        raise UsageError(
            f"{where}: has {data.shape[1]} colour planes, the student makes {channels}; convert it to grey"
        )
    return scaled(data)


def _labels(opened: OpenRun, known: Tensor | None, count: int, seed: int) -> Tensor | None:
    """Classes for a conditional student: the pictures' own where they are known and fit, else drawn."""
    classes = opened.student.facts.num_classes
    if classes and known is not None and bool((known < classes).all()):
        return known
    return sampling_labels(classes, seed, count, None)


def mean_picture(opened: OpenRun) -> Found[Tensor]:
    """The mean (1, C, H, W) of the data that the run's teacher learned from (of at most 10,000 pictures)."""
    source = data_of_run(opened)
    if source.value is None:
        return Found(None, source.error)
    return Found(source.value.reference(_MOST_FOR_MEAN)[0].mean(dim=0, keepdim=True))


def teacher_network(opened: OpenRun, device: torch.device) -> Found[nn.Module]:
    """The network of the teacher that the student learned from: denoiser or velocity."""
    found = teacher_of_run(opened, device)
    if found.value is None:
        return Found(None, found.error)
    kind = found.value.header.config.kind
    if kind not in ("edm", "flow"):
        return Found(None, UsageError(f"teachers of the kind {kind!r} are not compared with"))
    return Found(found.value.model)


class Perceptual:
    """LPIPS (SqueezeNet) of pictures, where it can be had.

    Pictures below 32 pixels are enlarged by repeating pixels, as the network cannot look at less: such distances compare
    with each other and with nothing published.

    Attributes:
        missing: why there is none; empty where there is.
        enlarged: how many times pictures are enlarged before they are looked at.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.enlarged = max(1, math.ceil(_SMALLEST_SEEN / min(shape[1:])))
        self.missing = ""
        if shape[0] not in (1, 3):
            self.missing = "LPIPS looks at one or three planes"
        elif not available(LPIPS_NAME):
            self.missing = "the weights of LPIPS are not at hand (KOOPSTEP_WEIGHTS names their folder)"
        self._eyes = Eyes(device, Quiet().bar)

    def distance(self, a: Tensor, b: Tensor) -> float | None:
        """Mean over pictures (N, C, H, W); None where there is none to be had."""
        if self.missing:
            return None
        large = [x.repeat_interleave(self.enlarged, 2).repeat_interleave(self.enlarged, 3) for x in (a, b)]
        return float(self._eyes.distance(*large).mean())

    def told(self) -> dict[str, str | int]:
        """What to say beside the numbers."""
        return {"lpips_left_out": self.missing} if self.missing else {"lpips_enlarged": self.enlarged}
