"""Expected photons: Bragg spots of the crystal, and everything amorphous around it."""
