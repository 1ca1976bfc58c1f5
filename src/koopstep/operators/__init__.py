"""The linear maps on a latent: the idea of Koopman distillation, one file an operator, and their table."""
