"""What a file is, told by its first bytes; its name and where a link leads do not matter."""

import re
import stat
from pathlib import Path
from typing import BinaryIO

from rethined_export.checkpoints.errors import CheckpointError, damaged, few, in_bytes, shown
from rethined_export.checkpoints.safe import MOST_HEADER_BYTES

_HEAD = 512
_AGAIN = "copy or download it again"
#: First bytes, what a file with them is, and what to do.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow save weights",
     "weights of a torch network are needed"),
    (b"GGUF", "a GGUF file", "weights of a torch network are needed"),
    (b"\x93NUMPY", "a NumPy array (.npy)", "a file of named tensors is needed"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and give the file inside"),
    (b"BZh", "a bzip2 archive", "unpack it and give the file inside"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it and give the file inside"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it and give the file inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and give the file inside"),
    (b"Rar!", "a rar archive", "unpack it and give the file inside"),
    (b"\x89PNG", "a PNG image", "give the checkpoint"),
    (b"\xff\xd8\xff", "a JPEG image", "give the checkpoint"),
    (b"%PDF", "a PDF document", "give the checkpoint"),
    (bytes(64), "a file that begins with zeros, as a download that broke off", _AGAIN),
    (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "a Torch7 file (.t7) of Lua objects",
     "save its weights as a torch state dict"),
    (b"\x08\x01\x12", "a TensorFlow SavedModel", "weights of a torch network are needed"),
)  # fmt: skip
_LFS = b"version https://git-lfs.github.com/spec/"


def open_file(path: Path) -> tuple[BinaryIO, int]:
    """Open a file for reading, and tell its size in bytes.

    Raises:
        CheckpointError: not there, not allowed, empty, a folder, or a device.
    """
    try:
        mode = path.stat().st_mode
        # A pipe is not opened: that would wait for somebody to write.
        file = path.open("rb") if stat.S_ISREG(mode) else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"cannot read checkpoint {path}: {reason}; check the name and the folder"
        ) from error
    if file is None:
        folder = stat.S_ISDIR(mode)
        raise CheckpointError(
            _folder(path) if folder else f"{path} is a pipe or a device; give a file"
        )
    size = file.seek(0, 2)
    file.seek(0)
    if not size:
        file.close()
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes); {_AGAIN}")
    return file, size


def _folder(path: Path) -> str:
    """What a folder most likely is, and which file in it to give."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError:
        names = []
    if "saved_model.pb" in names:
        return f"{path} is a TensorFlow SavedModel; weights of a torch network are needed"
    if "Manifest.json" in names:
        return f"{path} is a Core ML package; give the checkpoint it was made from"
    if {"data.pkl", "version"} & set(names):
        return f"{path} is an unpacked checkpoint, a directory; give the file it was unpacked from"
    ends = (".index.json", ".safetensors", ".ckpt", ".pth", ".pt", ".bin")
    likely = sorted(
        (name for name in names if name.lower().endswith(ends)),
        key=lambda name: (not name.endswith(".index.json"), name),
    )
    hint = f", such as {few(likely, 2)}" if likely else ""
    return f"{path} is a directory; give a checkpoint file in it{hint}"


def container(path: Path, file: BinaryIO, size: int) -> str:
    """Which reader a file is for: ``safetensors``, ``zip``, ``pickle`` or ``index``.

    Raises:
        CheckpointError: anything else; the message says what it is.
    """
    head = file.read(_HEAD)
    file.seek(0)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= MOST_HEADER_BYTES:
        if length > size - 8:
            raise damaged(path, f"its header is {length} bytes long, the file {size}")
        return "safetensors"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= 5:
        return "pickle"
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {what}, not a torch checkpoint; {advice}")
    if what := _binary(head):
        raise CheckpointError(f"{path} is {what}")
    if re.match(rb"\s*[{\[]", head) and _is_text(head):
        return "index"
    raise CheckpointError(f"{path} is {_text(file, head, size)}")


def _binary(head: bytes) -> str:
    """Formats whose mark is not at the start."""
    if head[4:8] == b"TFL3":
        return "a TFLite model, not a torch checkpoint; give the checkpoint it was made from"
    if re.match(rb"..[\0\1]?.ET\d\d", head[:8], re.S):
        return "an ExecuTorch program, not a torch checkpoint; give the checkpoint it was made from"
    if (
        head[:1] == b"\x08"
        and head[1:2]
        and 3 <= head[1] <= 20
        and head[2:3] in b"\x12\x1a\x3a\x42"
    ):
        return "an ONNX model, not a torch checkpoint; give the checkpoint it was made from"
    if head[257:262] == b"ustar":
        return (
            "a tar archive; unpack it (or, from torch before 0.1.10, load and save it with torch)"
        )
    return ""


def _text(file: BinaryIO, head: bytes, size: int) -> str:
    """What a file of text is; its first bytes where it is no text either."""
    if head.startswith(_LFS):
        found = re.search(rb"size (\d{1,18})", head)
        full = f" of {in_bytes(int(found[1]))}" if found else ""
        return f"a Git LFS pointer, not the file{full} it stands for; run git lfs pull"
    if re.match(rb"\s*(<!doctype|<html|<\?xml|<)", head, re.I):
        title = re.search(rb"<title>([^<]*)", file.read(1 << 16), re.I)
        said = f" ({shown(title[1].decode('utf-8', 'replace').strip(), 60)!r})" if title else ""
        return f"a web page{said}, not a checkpoint; download the file itself, logged in if need be"
    if _is_text(head):
        start = shown(" ".join(head.decode("utf-8", "replace").split()), 40)
        return f"a text file that begins {start!r}; give the checkpoint"
    return (
        f"no checkpoint of a known kind (its {size} bytes begin {head[:8].hex(' ')}); "
        "safetensors or a file of torch.save is needed"
    )


def _is_text(head: bytes) -> bool:
    """Whether bytes are UTF-8, the last character perhaps cut, without control characters."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(c.isprintable() or c in "\r\n\t\f" for c in text)
