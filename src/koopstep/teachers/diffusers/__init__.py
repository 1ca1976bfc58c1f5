"""Networks of diffusers pipelines as teachers."""
