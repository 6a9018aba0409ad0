"""Picture files of kinds that Pillow does not write, byte by byte."""

import struct
import zlib
from io import BytesIO

import numpy as np

BAND_AFTER_BAND = 2
SIZES = {3: "H", 4: "I"}  # of TIFF's types


def write_tiff(
    values: np.ndarray, photometric: int, *, extra=None, order="<", planes=1, tags: dict | None = None, bits=None
) -> bytes:
    """Returns an uncompressed TIFF of values (H, W) or (H, W, bands) of any type.

    Args:
        photometric: 0 zero is white | 1 zero is black | 2 RGB | 5 CMYK | 8 LAB.
        extra: what bands after the colours are: 0 unknown, 1 and 2 transparency.
        order: of bytes, "<" or ">".
        planes: 2 writes band after band.
        tags: more tags of type SHORT.
        bits: of each value, if it is none of numpy's (then the bytes are given as they stand in the file).
    """
    height, width = values.shape[:2]
    num_bands = values.shape[2] if values.ndim == 3 else 1
    values = values.astype(values.dtype.newbyteorder(order))
    parts = [values[..., k].tobytes() for k in range(num_bands)] if planes == BAND_AFTER_BAND else [values.tobytes()]
    if bits:
        width = width * 8 // bits
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits or 8 * values.dtype.itemsize] * num_bands), 259: (3, [1]),
        262: (3, [photometric]), 273: (4, [0] * len(parts)), 277: (3, [num_bands]), 278: (4, [height]),
        279: (4, [len(part) for part in parts]), 284: (3, [planes]),
        339: (3, [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * num_bands),
        **({338: (3, list(extra))} if extra is not None else {}),
        **{tag: (3, [value]) for tag, value in (tags or {}).items()},
    }  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    position = start + 200
    entries[273] = 4, list(np.cumsum([position, *map(len, parts)])[:-1].tolist())
    directory, others = struct.pack(f"{order}H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{SIZES[kind]}", *numbers)
        if len(packed) > 4:
            packed, others = struct.pack(f"{order}I", start + len(others)), others + packed
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return (head + directory + bytes(4) + others).ljust(position, b"\0") + b"".join(parts)


def write_png(values: np.ndarray, colour_type: int, transparent: tuple[int, ...] = ()) -> bytes:
    """Returns a PNG of 16-bit values (H, W) or (H, W, bands).

    Args:
        colour_type: 0 grey | 2 RGB | 4 grey and alpha | 6 RGB and alpha.
        transparent: the colour that is declared so.
    """
    height, width = values.shape[:2]

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
        chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b"",
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ])  # fmt: skip


def write_dicom(values: np.ndarray, compressed: bytes | None = None, syntax: str | None = None, **elements) -> bytes:
    """Returns a DICOM file of values (H, W), (H, W, 3) or, with NumberOfFrames, (frames, H, W), by pydicom.

    Args:
        compressed: the frame as it stands in the file, of the transfer syntax `syntax`.
        elements: by their keywords; without them all bits of an unsigned grey type are stored.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    is_colour = values.shape[-1] == 3 and values.ndim == 3 and "NumberOfFrames" not in elements
    dataset, bits = Dataset(), 8 * values.itemsize
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = values.shape[:2] if is_colour else values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = (3, 0) if is_colour else (1, None)
    dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = bits, bits
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = encapsulate([compressed]) if compressed else values.tobytes()
    dataset["PixelData"].VR = "OB" if compressed or bits == 8 else "OW"
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def write_table(entries: np.ndarray, first: int, num_bits: int) -> list:
    """Returns the sequence of one item that holds a lookup table, its entries uint8 or uint16 in words."""
    from pydicom import Dataset

    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, num_bits]
    item.add_new("LUTData", "OW", entries.tobytes())
    return [item]


def write_heic(pixels: np.ndarray, num_bits: int = 8, **settings) -> bytes:
    """Returns a HEIC file of colours (H, W, 3) without loss; pixels of more than 8 bits are uint16, scaled to 16."""
    import pillow_heif

    mode = "RGB" if num_bits == 8 else "RGB;16"
    height, width = pixels.shape[:2]
    pillow_heif.options.SAVE_HDR_TO_12_BIT = num_bits == 12
    file = BytesIO()
    heif = pillow_heif.from_bytes(mode, (width, height), pixels.tobytes())
    heif.save(file, quality=-1, chroma=444, matrix_coefficients=0, **settings)
    pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    return file.getvalue()
