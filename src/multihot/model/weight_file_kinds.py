"""What a file of weights is by its first bytes, whatever it is called, and the way out where it has no tensors."""

import os
import zipfile
from pathlib import Path

from multihot.errors import InputError

SAFETENSORS, TORCH = "safetensors", "torch"  # how the tensors were written
FIRST_BYTES = 512
TORCH_NUMBER = b"l\xfc\x9cF\xf9 j\xa8P\x19."  # with which files of torch.save began before it wrote zip archives
DOWNLOAD = "copy or download it anew"
AS_TENSORS = "where it was made, write the tensors alone: torch.save(model.state_dict(), path)"
AS_PYTORCH = "take the PyTorch version of the model (model.safetensors or a .pth file)"
BEGINNINGS = {  # first bytes -> what such a file is, and the way out
    b"version https://git-lfs": "a pointer of Git LFS and not the file itself: run `git lfs pull` where it came from",
    b"\x89HDF": f"an HDF5 file, as Keras writes it: {AS_PYTORCH}",
    b"GGUF": f"a GGUF file, whose weights are quantised: {AS_PYTORCH}",
    b"\x93NUMPY": f"one NumPy array: {AS_TENSORS}",
    b"\x1f\x8b": "compressed: unpack it first (gunzip, or tar -xzf)",
    b"BZh": "compressed: unpack it first (bunzip2, or tar -xjf)",
    b"\xfd7zXZ": "compressed: unpack it first (unxz, or tar -xJf)",
    b"\x28\xb5\x2f\xfd": "compressed: unpack it first (unzstd)",
    b"7z\xbc\xaf": "an archive: unpack it first (7z x)",
    b"Rar!": "an archive: unpack it first (unrar x)",
}
ENDINGS = {  # of names, for kinds whose first bytes tell nothing
    ".onnx": f"an ONNX model: {AS_PYTORCH}",
    ".pb": f"a TensorFlow model: {AS_PYTORCH}",
    ".tflite": f"a TensorFlow model: {AS_PYTORCH}",
    ".index": f"a TensorFlow checkpoint: {AS_PYTORCH}",
    ".msgpack": f"a Flax checkpoint: {AS_PYTORCH}",
}
WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


def find_kind(path: Path) -> str:
    """Returns how the tensors of a file were written, SAFETENSORS or TORCH.

    Raises:
        InputError: it is no file, may not be read, is empty, cut short, or of a kind without tensors that fit.
    """
    if not path.is_file():
        raise InputError(f"{path} cannot be read as weights: it is {describe_place(path)}")
    try:
        with path.open("rb") as file:
            first = file.read(FIRST_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read as weights: {error.strerror}; see `ls -l {path}`") from error
    if first.startswith(b"PK\x03\x04"):
        fault = find_fault_of_zip(path)
    elif is_safetensors(first):
        return SAFETENSORS
    elif first[:1] == b"\x80" and first[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        fault = None if TORCH_NUMBER in first else f"pickled, but not by torch.save; {AS_TENSORS}"
    else:
        fault = find_other_format(first, path)
    if fault is not None:
        raise InputError(f"{path} cannot be read as weights: it is {fault}")
    return TORCH


def describe_place(path: Path) -> str:
    """Returns what stands at a path where a file is wanted."""
    if path.is_dir():
        return "a folder"
    if path.is_symlink() and not path.exists():
        return f"a link to {os.readlink(path)}, which is not there"
    return "no file but a pipe or a device" if path.exists() else "not there"


def is_safetensors(first: bytes) -> bool:
    """Returns whether a file begins with the length of a JSON header (8 bytes) and the header."""
    return len(first) > 9 and first[8:10] in (b'{"', b"{}", b"{ ") and int.from_bytes(first[:8], "little") < 1 << 30


def find_fault_of_zip(path: Path) -> str | None:
    """Returns what a zip archive is, None if torch.save wrote it."""
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return f"damaged or cut short; {DOWNLOAD}"
    if any(name.endswith("/constants.pkl") for name in names):
        return f"a TorchScript program; {AS_TENSORS}"
    if any(name.endswith("archive_format") for name in names):
        return f"a program of torch.export; {AS_TENSORS}"
    if any(name.endswith("data.pkl") for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return f"a Keras model: {AS_PYTORCH}"
    if any(name.endswith(".npy") for name in names):
        return (
            "an .npz archive, as JAX models have it. timm turns it into one that fits: "
            f'timm.create_model(name, checkpoint_path="{path}"), then torch.save(model.state_dict(), path)'
        )
    return f"a zip archive of {', '.join(names[:3]) or 'nothing'}: unpack it first"


def find_other_format(first: bytes, path: Path) -> str:
    """Returns what a file is that begins with these bytes and holds no tensors, and the way out."""
    if not first.strip(b"\0"):
        return f"empty; {DOWNLOAD}"
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:9].lower().startswith(WEB_PAGES):
        return (
            "a web page, or what a server answered, and not the file: download that "
            "(on Hugging Face and GitHub its address has /resolve/ or /raw/ in the place of /blob/)"
        )
    if first[257:262] == b"ustar":
        return "a tar archive: unpack it first (tar -xf)"
    known = [words for beginning, words in BEGINNINGS.items() if first.startswith(beginning)]
    known += [words for ending, words in ENDINGS.items() if path.name.endswith(ending)]
    if first[:1] == b"\x08" and first[2:3] == b"\x12":  # version and producer, the first two fields
        known.append(ENDINGS[".onnx"])
    if known:
        return known[0]
    if path.name.endswith(".index.json"):
        return "the list of a model's parts: give the folder that it is in"
    begins = text[:40].decode("utf-8", "replace").splitlines()[0].strip()
    return (
        f"neither a safetensors file nor one that torch.save wrote: it begins with {begins!r}. If it should be, "
        f"it is damaged or cut short; {DOWNLOAD}"
    )
