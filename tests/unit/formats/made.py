"""Small detector files as their programs write them, for tests."""

import bz2
import struct

import h5py
import numpy as np

MINICBF = """# Detector: PILATUS 300K, S/N 3-0118
# Pixel_size 172e-6 m x 172e-6 m
# Count_cutoff 1000000 counts
# Wavelength 1.5 A
# Detector_distance 0.08 m
# Beam_xy (60.50, 70.25) pixels
"""


def photons(shape=(150, 130), *, mean=20.0, seed=0):
    """Return Poisson counts, int32 [slow, fast]."""
    return np.random.default_rng(seed).poisson(mean, shape).astype(np.int32)


def byte_offset(values):
    """Return `values` compressed by CBF's byte offset, the slow and plain way."""
    out, last = bytearray(), 0
    for value in map(int, np.ravel(values)):
        step, last = value - last, value
        if -128 < step < 128:
            out += struct.pack("<b", step)
        elif -32768 < step < 32768:
            out += b"\x80" + struct.pack("<h", step)
        else:
            out += b"\x80\x00\x80" + struct.pack("<i", step)
    return bytes(out)


def cbf(counts, *, header=MINICBF, conversion="x-CBF_BYTE_OFFSET", data=None):
    """Return the bytes of a CBF file that holds `counts`."""
    data = byte_offset(counts) if data is None else data
    contents = header.replace("\n", "\r\n")
    text = (
        "###CBF: VERSION 1.5\r\n\r\ndata_image\r\n\r\n"
        '_array_data.header_convention "PILATUS_1.2"\r\n'
        f"_array_data.header_contents\r\n;\r\n{contents};\r\n\r\n"
        "_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n"
        f'Content-Type: application/octet-stream;\r\n     conversions="{conversion}"\r\n'
        "Content-Transfer-Encoding: BINARY\r\n"
        f"X-Binary-Size: {len(data)}\r\nX-Binary-ID: 1\r\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\r\n'
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n"
        f"X-Binary-Number-of-Elements: {np.size(counts)}\r\n"
        f"X-Binary-Size-Fastest-Dimension: {np.shape(counts)[1]}\r\n"
        f"X-Binary-Size-Second-Dimension: {np.shape(counts)[0]}\r\n"
        "X-Binary-Size-Padding: 1\r\n\r\n"
    )
    end = b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    return text.encode() + b"\x0c\x1a\x04\xd5" + data + end


def smv(counts, *, type_="unsigned_short", order="little_endian", **extra):
    """Return the bytes of an SMV file that holds `counts`; `extra` goes into the header."""
    entries = {
        "HEADER_BYTES": 512,
        "DIM": 2,
        "BYTE_ORDER": order,
        "TYPE": type_,
        "SIZE1": counts.shape[1],
        "SIZE2": counts.shape[0],
        "PIXEL_SIZE": 0.1,
        "DISTANCE": 100,
        "WAVELENGTH": 1.0,
        **extra,
    }
    header = "{\n" + "".join(f"{key}={value};\n" for key, value in entries.items()) + "}\n"
    assert len(header) <= 512
    kinds = {"unsigned_short": "u2", "long_integer": "i4", "float": "f4"}
    dtype = (">" if order == "big_endian" else "<") + kinds[type_]
    return header.ljust(512).encode() + counts.astype(dtype).tobytes()


def mar(counts, *, bias=10, photons_per_100=50):
    """Return the bytes of a MarCCD file: a TIFF with a header of its own in front of the image."""
    height, width = counts.shape
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 4096),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, counts.nbytes),
    ]
    head = bytearray(4096)
    struct.pack_into("<2sHI", head, 0, b"II", 42, 8)
    struct.pack_into("<H", head, 8, len(tags))
    for i, (tag, kind, value) in enumerate(tags):
        struct.pack_into("<HHII", head, 10 + 12 * i, tag, kind, 1, value)
    head[1028:1031] = b"MMX"
    for offset, value in {
        1128: 65000,
        1664: 90_000,
        1668: 60_500,
        1672: 70_250,
        1796: 79_000,
        1800: 79_000,
        1804: bias * 1000,
        1808: photons_per_100,
        1932: 103_300,
    }.items():
        struct.pack_into("<i", head, offset, value)
    return bytes(head) + counts.astype("<u2").tobytes()


def eiger(folder, frames, *, files=2, mask=None, name="run"):
    """Write an EIGER master with its data files and return the master's path."""
    master = folder / f"{name}_master.h5"
    parts = np.array_split(frames, files)
    with h5py.File(master, "w") as file:
        data = file.create_group("entry/data")
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["beam_center_x"] = 60.5
        detector["beam_center_y"] = 70.25
        detector["x_pixel_size"] = 75e-6
        detector["x_pixel_size"].attrs["units"] = "m"
        detector["detector_distance"] = 120.0
        detector["detector_distance"].attrs["units"] = "mm"
        detector["description"] = "Dectris EIGER2 test"
        file["entry/instrument/beam/incident_wavelength"] = 0.9
        file["entry/instrument/beam/incident_wavelength"].attrs["units"] = "angstrom"
        if mask is not None:
            detector["detectorSpecific/pixel_mask"] = mask.astype(np.uint32)
        for i, part in enumerate(parts, start=1):
            linked = f"{name}_data_{i:06d}.h5"
            with h5py.File(folder / linked, "w") as one:
                one.create_dataset("entry/data/data", data=part, chunks=(1, *part.shape[1:]))
            data[f"data_{i:06d}"] = h5py.ExternalLink(linked, "/entry/data/data")
    return master


def without_its_filter(path, frames, *, code=32199):
    """Write `frames` as if compressed by an unknown HDF5 filter."""
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "entry/data/data", data=frames, chunks=(1, *frames.shape[1:]), compression=32008
        )
    raw = path.read_bytes()
    # the filter message: id, name length, flags, number of values
    old, new = struct.pack("<H", 32008), struct.pack("<H", code)
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    return path


def edf(*images, first=1):
    """Return the bytes of an EDF with these images, counted from `first`."""
    parts = []
    for number, image in enumerate(images, start=first):
        pixels = image.astype("<u2")
        header = (
            f"{{\nHeaderID = EH:{number:06d}:000000:000000 ;\nByteOrder = LowByteFirst ;\n"
            f"DataType = UnsignedShort ;\nDim_1 = {image.shape[1]} ;\nDim_2 = {image.shape[0]} ;\n"
            f"Image = {number} ;\nSize = {pixels.nbytes} ;\n"
        )
        parts.append(f"{header:<510}}}\n".encode() + pixels.tobytes())
    return b"".join(parts)


def slow_bz2():
    """Return the bytes of a .bz2 file of 700 bytes that takes seconds to unpack."""
    return bz2.compress(bytes(8 << 20)) * 100
