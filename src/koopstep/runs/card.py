"""The model card that goes with a student."""

from __future__ import annotations

from koopstep.core.text import markdown
from koopstep.recipes.recipe import Recipe
from koopstep.students.student import DataFacts


def student_card(recipe: Recipe, facts: DataFacts, provenance: dict[str, str]) -> str:
    """Markdown with a metadata head as model hubs read it. Names come from strangers' files, so they are only shown."""
    image = len(facts.shape) == 3
    tags = ["koopman", "distillation", "one-step"] + (["image-generation"] if image else [])
    head = ["---", "library_name: koopstep", "tags:", *(f"- {tag}" for tag in tags)]
    if image:
        head.append("pipeline_tag: unconditional-image-generation")
    lines = [
        *head,
        "---",
        "",
        f"# {markdown(recipe.preset)}, distilled into one step ({markdown(recipe.method)})",
        "",
        markdown(recipe.about),
        "",
        f"- samples: shape {facts.shape}, {facts.num_classes or 'no'} classes; one network evaluation a sample",
        f"- teacher: {markdown(provenance['teacher'])} (SHA-256 {markdown(provenance['teacher_sha256'] or 'unknown')})",
        f"- paths: store {markdown(provenance['data_root'])}",
        f"- training: {recipe.training.steps} steps of {recipe.training.batch_size}, seed {recipe.training.seed}; "
        "these are the averaged (EMA) weights",
        "",
        "```python",
        "from koopstep import Student",
        "",
        'samples = Student.load("this folder").sample(16, seed=0)',
        "```",
        "",
        "The licence of a student follows from its teacher's and the data's; it is not stated here.",
        "",
    ]
    return "\n".join(lines)
