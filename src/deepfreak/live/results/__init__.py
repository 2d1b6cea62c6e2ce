"""Verdicts that are durable, and what keeps sinks in step with them."""
