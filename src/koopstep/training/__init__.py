"""Training: one loop for students and teachers, exact resume, data parallelism."""
