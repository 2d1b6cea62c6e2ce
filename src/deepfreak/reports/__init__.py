"""Self-contained HTML pages: what was decided, and why."""
