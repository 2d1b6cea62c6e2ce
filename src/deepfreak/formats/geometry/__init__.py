"""Where the pixels of a detector are: CrystFEL, DIALS and pyFAI files."""
