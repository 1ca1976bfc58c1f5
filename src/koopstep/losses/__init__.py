"""Loss terms (pure functions, one an equation), penalties and the adversarial losses."""
