"""What a file is that Pillow does not know, by its first bytes, and how to get a picture out of it."""

CONVERT = "convert it to PNG or JPEG"
AGAIN = "download or copy it again"
INSTALL = 'install what reads it (pip install -e ".[pictures]"), or convert it to PNG or JPEG'
HEIC, JPEG_XL, DICOM = "a HEIC photo", "a JPEG XL picture", "a DICOM file"
DEEP_JPEG_2000 = "a JPEG 2000 picture whose values of more than 8 bits Pillow does not show right"
LOST_PLANES = "a TIFF whose bands, one after the other, Pillow does not read"
RARE_TIFF = "a TIFF of a kind that Pillow does not read (its bands, bits or compression), or damaged"
KINDS = (  # position, bytes, what it is, the way out
    (0, b"version https://git-lfs", "not an image but a Git LFS pointer", "run git lfs pull"),
    (0, b"%PDF", "not an image but a PDF document", CONVERT),
    (0, b"%!PS", "a PostScript drawing", CONVERT),
    (4, b"ftypavif", "an AVIF picture, which this Pillow is built without", 'pip install "pillow>=11.3"'),
    (4, b"ftypavis", "an AVIF picture, which this Pillow is built without", 'pip install "pillow>=11.3"'),
    (4, b"ftyphei", HEIC, INSTALL),
    (4, b"ftyphev", HEIC, INSTALL),
    (4, b"ftypmif1", HEIC, INSTALL),
    (4, b"ftypmsf1", HEIC, INSTALL),
    (4, b"ftypcrx", "a camera's raw file (CR3)", CONVERT),
    (4, b"ftyp", "not an image but a video", "save the frame that counts as PNG or JPEG"),
    (0, b"\x1aE\xdf\xa3", "not an image but a video", "save the frame that counts as PNG or JPEG"),
    (8, b"AVI ", "not an image but a video", "save the frame that counts as PNG or JPEG"),
    (0, b"\xff\x0a", JPEG_XL, INSTALL),
    (4, b"JXL ", JPEG_XL, INSTALL),
    (128, b"DICM", DICOM, 'pip install -e ".[pictures]"'),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)", CONVERT),
    (0, b"IIU\0", "a camera's raw file (RW2)", CONVERT),
    (0, b"IIR", "a camera's raw file (ORF)", CONVERT),
    (8, b"CR\x02", "a camera's raw file (CR2)", CONVERT),
    (0, b"\x93NUMPY", "not an image but a NumPy array", CONVERT),
    (0, b"\x89HDF", "not an image but an HDF5 file", "convert its pictures to PNG"),
    (344, b"n+1\0", "a NIfTI volume", "save the slices that count as PNG"),
    (0, b"PK\x03\x04", "not an image but a ZIP archive", "unpack it"),
    (0, b"\x1f\x8b", "not an image but a gzip file", "unpack it"),
    (257, b"ustar", "not an image but a tar archive", "unpack it, or see data=webdataset"),
    (0, b"8BPS", "a Photoshop file of a kind that Pillow does not read", CONVERT),
    (0, b"\xff\xd8", "a JPEG with a damaged header", AGAIN),
    (0, b"\x89PNG", "a PNG with a damaged header", AGAIN),
    (0, b"GIF8", "a GIF with a damaged header", AGAIN),
    (8, b"WEBP", "a WebP with a damaged header, or animated in a way that Pillow does not read", AGAIN),
    (0, b"BM", "a BMP with a damaged header", AGAIN),
)
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WORDS = (  # of texts
    ("<svg", "an SVG drawing", CONVERT),
    ("<!doctype html", "not an image but a web page", AGAIN),
    ("<html", "not an image but a web page", AGAIN),
    ("<?xml", "not an image but an XML text, often the error of a download", AGAIN),
    ("{", "not an image but a JSON text, often the error of a download", AGAIN),
)


def name_content(start: bytes) -> tuple[str, str]:
    """Returns what a file is that begins with these bytes and is no picture for Pillow, and the way out.

    >>> name_content(b"<HTML><title>404")
    ('not an image but a web page', 'download or copy it again')
    >>> name_content(bytes(9))
    ('not an image but full of zeros', 'download or copy it again')
    """
    if not start.strip(b"\0"):
        return "not an image but full of zeros", AGAIN
    for position, mark, what, way_out in KINDS:
        if start[position : position + len(mark)] == mark:
            return what, way_out
    if start.startswith(TIFF):
        return RARE_TIFF, "save it as grey or RGB with 8 or 16 bits a band"
    text = start.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    for word, what, way_out in WORDS:
        if text.startswith(word) or (word == "<svg" and text.startswith("<?xml") and word in text):
            return what, way_out
    return "not an image, or of a format that Pillow does not know", "restore the file"
