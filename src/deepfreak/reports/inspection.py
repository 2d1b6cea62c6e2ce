"""What was understood of a detector file, as text."""

from typing import Any

from deepfreak.text import printable, spelled


def inspection_text(record: dict[str, Any]) -> str:
    """Return a record as lines of names, values and where they were found."""
    lines = [spelled(str(record["file"]))]
    if "error" in record:
        return f"{lines[0]}\n  cannot be read: {printable(record['error'])}\n"
    shape, origins = record["shape"], record["from"]
    pixels = shape[0] * shape[1]
    lines += [
        f"  frame        {record['frame']} of {record['frames']}",
        f"  size         {shape[0]} x {shape[1]} (slow x fast), {record['dtype']}",
        f"  measured     {record['valid']} of {pixels} pixels ({record['valid'] / pixels:.1%})",
    ]
    lines += [f"    missing    {count}: {reason}" for reason, count in record["missing"].items()]
    if record["saturated"] is not None:
        lines.append(f"  saturated    {record['saturated']} pixels")
    units = {
        "detector": ("detector", ""),
        "gain": ("gain", "counts per photon"),
        "pedestal": ("pedestal", "counts"),
        "saturation": ("saturation", "counts"),
        "beam_center_px": ("beam", "pixels (slow, fast)"),
        "pixel_size_mm": ("pixel size", "mm"),
        "distance_mm": ("distance", "mm"),
        "wavelength_A": ("wavelength", "A"),
    }
    for key, (name, unit) in units.items():
        value = record[key]
        text = "unknown" if value is None else f"{_shown(value)} {unit}".rstrip()
        origin = f"  [{origins[key]}]" if key in origins else ""
        lines.append(printable(f"  {name:<12} {text}{origin}"))
    lines += _evidence(record["evidence"])
    lines += [printable(f"  note         {note}") for note in record["notes"]]
    return "\n".join(lines) + "\n"


def _evidence(found: dict[str, Any]) -> list[str]:
    """Return what the frame shows as lines of the table."""
    peaks, off = found["peaks"], found["peaks_off_rings"]
    center = "unknown"
    if found["ring_center_px"] is not None:
        center = f"{_shown(found['ring_center_px'])} [{found['ring_center_origin']}]"
    number, d_min = found["lattices"], found["d_min_A"]
    lattices = "" if number is None else f" ({number})"
    return [
        f"  peaks        {peaks['5']} (z > 7: {peaks['7']}, z > 10: {peaks['10']})",
        f"    left out   single pixels: {found['hot_pixels']}, lines: {found['crests']}",
        f"  off rings    {off['5']} (z > 7: {off['7']}, z > 10: {off['10']})",
        f"  on rings     {found['ring_share']:.0%} of the peaks; rings: {found['rings']}",
        f"  centre       {center}",
        f"  lattice      {found['lattice_score']:.1f} sigma{lattices}",
        f"  d_min        {'unknown' if d_min is None else f'{d_min:.2f} A'}",
        f"  photon       {found['photon']:.3g} counts [{found['photon_origin']}]",
        f"  noise        {found['noise']:.3g} counts",
    ]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{number:.2f}" for number in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
