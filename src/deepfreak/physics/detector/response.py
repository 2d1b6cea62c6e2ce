"""What a detector makes of the photons that reach its pixels: the devices, and their bad pixels."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from deepfreak.settings import Fraction, NonNegative, Positive, settings

SixteenBits = Annotated[int, Field(ge=1, le=65535)]


@settings
class CCD:
    """A fibre-coupled CCD, as Appendix A simulates it.

    Parameters
    ----------
    calibration_rms, calibration_seed
        Relative RMS of the pixels' calibration error, and the seed of this device's fixed map.
    psf_fwhm_mm
        Full width at half maximum of the fibre's point spread (Holton et al. 2012); 0 for none.
    readout_noise_adu, adc_offset_adu, saturation_value
        RMS read-out noise, pedestal, and largest count; one count is one photon.
    """

    kind: Literal["ccd"] = "ccd"
    calibration_rms: NonNegative = 0.0
    calibration_seed: int = 0
    psf_fwhm_mm: NonNegative = 0.0
    readout_noise_adu: NonNegative = 0.0
    adc_offset_adu: NonNegative = 0.0
    saturation_value: SixteenBits = 65025


@settings
class PhotonCounting:
    """A hybrid pixel detector, which counts photons one by one: no read-out noise, no pedestal.

    After a photon a pixel is blind for the dead time. The model is one of a beam that is even
    over the exposure, as a synchrotron's. It is not made for single pulses of a free-electron
    laser: all photons of one arrive within any dead time, so that a counting pixel reports 0 or 1.

    Parameters
    ----------
    calibration_rms, calibration_seed
        As those of `CCD`: pixels whose thresholds differ count different shares of the photons.
    dead_time_ns, count_time_s
        How long a pixel is blind after a photon, and how long it counts; without dead time the
        latter does not matter.
    paralyzable
        Whether a photon that arrives in the dead time, itself not counted, starts it anew.
    saturation_value
        Largest count.
    """

    kind: Literal["photon-counting"]
    calibration_rms: NonNegative = 0.0
    calibration_seed: int = 0
    dead_time_ns: NonNegative = 0.0
    count_time_s: Positive | None = None
    paralyzable: bool = False
    saturation_value: SixteenBits = 65535

    def __post_init__(self) -> None:
        if self.dead_time_ns > 0 and self.count_time_s is None:
            raise ValueError(
                "dead_time_ns needs count_time_s, the exposure it is to be compared to"
            )

    @property
    def dead_share(self) -> float:
        """Dead time of one photon as a share of the exposure."""
        if self.count_time_s is None:
            return 0.0
        return self.dead_time_ns * 1e-9 / self.count_time_s


def _kind(response: object) -> str | None:
    if isinstance(response, dict):
        kind = response.get("kind", "ccd")
        return kind if isinstance(kind, str) else None
    return getattr(response, "kind", None)


# A recipe may leave out the kind of a CCD.
Response = Annotated[
    Annotated[CCD, Tag("ccd")] | Annotated[PhotonCounting, Tag("photon-counting")],
    Discriminator(
        _kind,
        custom_error_type="response_kind",
        custom_error_message="kind is one of ccd, photon-counting",
    ),
]


@settings
class BadPixels:
    """Pixels that do not see light, scattered at random but fixed for a device.

    Parameters
    ----------
    dead_fraction
        Share of the pixels that report nothing: 0 counts.
    hot_fraction, hot_value
        Share of the pixels that always report the same, and what: the saturation value by default.
    seed
        Of this device's map.
    """

    dead_fraction: Fraction = 0.0
    hot_fraction: Fraction = 0.0
    hot_value: SixteenBits | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dead_fraction + self.hot_fraction > 1:
            raise ValueError(
                "dead_fraction and hot_fraction are at most 1 together, "
                f"found {self.dead_fraction} and {self.hot_fraction}"
            )
