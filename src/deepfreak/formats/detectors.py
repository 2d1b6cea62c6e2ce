"""Detectors by name: which count photons and which integrate charge."""

import re

# From the makers' public descriptions. A photon counter stores photons: its gain is 1, it has no
# negative counts, and zero is a measurement.
_COUNTERS = re.compile(
    r"pilatus|eiger|timepix|medipix|merlin|lambda|xspectrum|pixirad|hypix|xpad|maxipix|mythen"
    r"|photon[ _-]?count",
    re.IGNORECASE,
)
_INTEGRATORS = re.compile(
    r"jungfrau|epix|cspad|agipd|mpccd|rayonix|mar\s?ccd|mar\s?165|mar\s?225|mar\s?325|mx\d{3}-?hs"
    r"|adsc|quantum|saturn|\bccd|pnccd|\blpd\b|dssc|m[oö]nch|gotthard|citius|percival"
    r"|apex|photon\s?(?:100|ii|iii)|smart|ruby|atlas|onyx|mar345|image\s?plate|r-?axis",
    re.IGNORECASE,
)


def counts_photons(*names: str | None) -> bool | None:
    """Return whether a detector so called counts photons; None where the names do not tell."""
    known = [name for name in names if name]
    # an integrating detector may name a counter's file format, never the other way round
    if any(_INTEGRATORS.search(name) for name in known):
        return False
    return True if any(_COUNTERS.search(name) for name in known) else None


def is_eiger(*names: str | None) -> bool:
    """Return whether a detector so called is an EIGER, which marks pixels by its largest value."""
    return any(name and re.search("eiger", name, re.IGNORECASE) for name in names)
