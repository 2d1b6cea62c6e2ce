"""What to try next: one module a sampler."""
