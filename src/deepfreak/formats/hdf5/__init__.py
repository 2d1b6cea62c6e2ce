"""HDF5: Eiger and NXmx masters, CXI, plain stacks, in many arrangements."""
