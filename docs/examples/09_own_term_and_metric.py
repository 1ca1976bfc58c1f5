"""A term of the objective, a metric and an analysis of one's own."""

import koopstep as ks


@ks.register_term("centred", weight=0.1)
def centred(run):
    """The mean of a batch of one-step samples is that of the teacher's."""
    return (run.predicted.mean(dim=0) - run.batch.data.mean(dim=0)).square().mean()


@ks.register_metric("spread", needs=["target"], direction="control")
def spread(samples):
    """Standard deviation of the student's samples over that of the teacher's."""
    return float(samples.student.std() / samples.target.std())


store = ks.collect("checkerboard-edm", "paths", count=1_000, steps=9, quiet=True)
changes = ["training.steps=60", "training.batch_size=128", "objective.terms.centred=0.5"]
run = ks.train("checkerboard", store, "run", changes=changes, quiet=True)
scores = run.evaluate(metrics=["pair_mse", "spread"], quiet=True)
print(scores.metrics)
