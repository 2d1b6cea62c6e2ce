"""Samplers: what to try next, one module each."""
