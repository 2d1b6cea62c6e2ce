"""Frames that arrive as files: `watch` notices and names them, `decode` reads them in a worker."""
