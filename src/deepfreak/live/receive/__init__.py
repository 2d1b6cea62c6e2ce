"""Receiving frames: from sources, once each, into the spool and the queue."""
