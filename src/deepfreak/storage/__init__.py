"""Files that survive a kill: written whole, held by one process."""
