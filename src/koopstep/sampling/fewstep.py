"""More steps than one: the student reads states within the path, and starts again from each."""

from __future__ import annotations

from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.students.student import KoopmanStudent


def generate_in_steps(
    student: KoopmanStudent, noise: Tensor, class_labels: Tensor | None = None, *, steps: int = 1
) -> Tensor:
    """Unit-variance ``noise`` (B, *shape) -> data (B, *shape) by ``steps`` even steps in u, one network evaluation each.

    Raises:
        UsageError: if ``steps`` < 1; or above 1 for a student whose decoder reads the end of the path only.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    if steps > 1 and not student.codec.reads_path:
        raise UsageError(
            "this student reads the end of the path only, so it samples in one step; "
            "several steps need --method hkd+ (student.decoder_told=target)"
        )
    if steps == 1:
        return student.generate(noise, class_labels)
    state = noise * student.facts.noise_scale
    for step in range(steps):
        u = step / steps
        moved = student.evolve(student.encode(state, u, class_labels), 1 / steps, class_labels)
        state = student.decode(moved, 1.0 if step == steps - 1 else u + 1 / steps, class_labels)
    return state
