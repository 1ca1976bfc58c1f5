"""koopstep: one-step generators from diffusion and flow-matching teachers, through a linear (Koopman) evolution."""
