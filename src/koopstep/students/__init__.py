"""Students: encoder, operator, decoder."""
