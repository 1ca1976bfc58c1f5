"""Foreign pickles read as data: own opcode loop, no imports, no calls; see `docs/checkpoints.md`."""
