"""Files of ``torch.save`` (zip and legacy), ``torch.jit.save`` and plain pickles."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rethined_export.checkpoints.contents import Candidate, Contents
from rethined_export.checkpoints.errors import CheckpointError, DamageError, few, in_bytes, shown
from rethined_export.checkpoints.inert import load
from rethined_export.checkpoints.mappings import find_mappings, find_script, settings_of, summarise
from rethined_export.checkpoints.rebuild import Storage, Storages, as_stored, torch_calls
from rethined_export.checkpoints.stored import Block, Stored

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
#: torch stores members as they are; an archive that unpacks to more times its size is a trap.
_MOST_INFLATION = 8
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl", ".onnx", ".tflite")
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, struct.error, EOFError, OSError,
    RuntimeError, ValueError, OverflowError, KeyError,
)  # fmt: skip


# --- Zip archives -------------------------------------------------------------------------------


def read_zip(path: Path, file: BinaryIO, size: int) -> Contents:
    """Read what ``torch.save`` or ``torch.jit.save`` wrote.

    Raises:
        DamageError: not a whole archive. CheckpointError: an archive of something else.
    """
    archive = _Archive(file, size)
    folder = _checkpoint_folder(path, archive.names)
    order = archive.text(f"{folder}byteorder") or "little"
    if order != "little":
        raise CheckpointError(
            f"{path} was saved on a machine of another byte order ({shown(order)}-endian); "
            "load it there and save it as safetensors"
        )
    if f"{folder}constants.pkl" in archive.names:
        return _script(archive, folder)
    root = archive.unpickle(f"{folder}data.pkl", f"{folder}data/")
    return _contents("torch zip", root, archive.size)


def _script(archive: "_Archive", folder: str) -> Contents:
    """TorchScript: tensors are attributes of the objects in it, or constants without names."""
    root = archive.unpickle(f"{folder}data.pkl", f"{folder}data/")
    constants = archive.unpickle(f"{folder}constants.pkl", f"{folder}constants/")
    candidates = [find_script(root)]
    numbered: dict[str, Stored] = {}
    for number, value in enumerate(constants if isinstance(constants, tuple) else ()):
        if tensor := as_stored(value):
            numbered[f"c{number}"] = tensor
    notes: tuple[str, ...] = ()
    if numbered:
        candidates.append(Candidate("constants", numbered))
        if not candidates[0].tensors:
            notes = (
                "the archive was frozen: its tensors are constants without names, and only "
                "the archive it was frozen from has them",
            )
    found = [candidate for candidate in candidates if candidate.tensors]
    return Contents(
        "TorchScript archive", found, "a TorchScript program", archive.size, notes=notes
    )


class _Archive:
    """Members of a zip file, none of which unpacks to much more than the file itself."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        try:
            self._zip = zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            raise DamageError(
                f"a zip archive whose directory, at its end, is unreadable: {error}"
            ) from error
        members = self._zip.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > _MOST_INFLATION * size + (1 << 20):
            raise DamageError(
                f"a zip archive of {in_bytes(size)} that claims to unpack to {in_bytes(unpacked)}"
            )
        self._members = {member.filename: member for member in members}
        self.names = list(self._members)

    def read(self, name: str) -> bytearray:
        """A member's bytes, their checksum compared."""
        member = self._members[name]
        if not member.CRC:  # torch can be told to leave checksums out, and then writes 0
            del member.CRC
        content = bytearray(member.file_size)
        try:
            with self._zip.open(member) as stream:
                got = stream.readinto(content)  # type: ignore[attr-defined]
                rest = stream.read(1)
        except _ZIP_ERRORS as error:
            raise DamageError(f"{shown(name)} cannot be read: {error}") from error
        finally:
            if not hasattr(member, "CRC"):
                member.CRC = 0
        if got != len(content) or rest:
            raise DamageError(f"{shown(name)} has another size than its directory says")
        return content

    def text(self, name: str) -> str:
        """A small member as text; empty where there is none."""
        if name not in self._members or self._members[name].file_size > 64:
            return ""
        return self.read(name).decode("latin-1").strip()

    def unpickle(self, name: str, data: str) -> object:
        """Read a member as a pickle whose storages are members named by ``data`` and a key."""
        if self._members[name].file_size > self.size:
            raise DamageError(f"{shown(name)} is larger than the archive")

        def find(key: str, size: int) -> Block:
            member = self._members.get(data + key)
            if member is None:
                raise DamageError(f"the storage {shown(data + key)} is missing")
            if member.file_size < size:
                raise DamageError(f"the storage {shown(data + key)} is too small")
            return Block(size, lambda: self.read(data + key))

        content = bytes(self.read(name))
        storages = Storages(find)
        calls = torch_calls()
        return load(io.BytesIO(content), len(content), calls, storages.persistent)


def _checkpoint_folder(path: Path, names: list[str]) -> str:
    """The archive's one folder, with its slash, or the error that says what is there instead."""
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if pickles:
        return min(pickles, key=len)[: -len("data.pkl")]
    raise CheckpointError(f"{path} is {_other_zip(names)}")


def _other_zip(names: list[str]) -> str:
    """What a zip archive without ``data.pkl`` is, and what to do."""
    if any(name.endswith("archive_format") for name in names):
        return "a program of torch.export (.pt2), not a checkpoint; save model.state_dict() instead"
    if any(name.endswith(("attributes.pkl", "model.json")) for name in names):
        return "TorchScript from before torch 1.4; load it there and save its state_dict()"
    if any(name.endswith(".data/python_version") for name in names):
        return "a torch.package archive, not a checkpoint; save model.state_dict() instead"
    if any(name.endswith(".weights.h5") for name in names):
        return "a Keras model; weights for a torch network are needed"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (.npz); save a torch state dict or safetensors instead"
    inside = [name for name in names if name.lower().endswith(_WEIGHT_SUFFIXES)]
    if inside:
        return f"a zip archive; unpack it and give a file in it: {few(inside)}"
    return f"a zip archive without a checkpoint in it (it holds {few(names) or 'nothing'})"


# --- Pickles ------------------------------------------------------------------------------------


def read_pickle(path: Path, file: BinaryIO, size: int) -> Contents:
    """Read a legacy ``torch.save`` file, or a pickle of something else.

    Raises:
        DamageError: not a whole one. CheckpointError: its byte order is another.
    """
    first, storages = _legacy(path, file, size)
    if storages:
        return _contents("torch legacy", first, size)
    return _contents("pickle", first, size)


def _contents(container: str, root: object, size: int) -> Contents:
    """What an unpickled object holds."""
    found = find_mappings(root)
    return Contents(container, found, summarise(root), size, settings=settings_of(root))


def _legacy(path: Path, file: BinaryIO, size: int, nested: bool = False) -> tuple[object, bool]:
    """The object of a legacy file and True, or of a plain pickle and False."""

    def outside(_: object) -> object:
        raise DamageError("its pickle refers to something outside itself")

    calls = torch_calls(None if nested else _bytes_loader(path))
    first = load(file, size, calls, outside)
    if type(first) is not int or first != _MAGIC:
        return first, False
    protocol = load(file, size, calls, outside)
    system = load(file, size, calls, outside)
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise DamageError("a legacy torch file of an unknown protocol")
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise CheckpointError(
            f"{path} was saved on a big-endian machine; load it there and save it as safetensors"
        )
    places: dict[str, int] = {}
    storages = Storages(lambda key, length: Block(length, _reader(file, places, key, length)))
    root = load(file, size, calls, storages.persistent)
    keys = load(file, size, calls, outside)
    _locate(file, size, keys, storages, places)
    return root, True


def _reader(
    file: BinaryIO, places: dict[str, int], key: str, length: int
) -> Callable[[], bytearray]:
    """Read a storage from where it will have been found."""

    def read() -> bytearray:
        content = bytearray(length)
        file.seek(places[key])
        if file.readinto(content) != length:  # type: ignore[attr-defined]
            raise DamageError(f"the storage {shown(key)} ends early")
        return content

    return read


def _locate(
    file: BinaryIO, size: int, keys: object, storages: Storages, places: dict[str, int]
) -> None:
    """Find where each storage stands: an element count of 8 bytes, and the elements, each."""
    if not isinstance(keys, list):
        raise DamageError("a legacy torch file without a list of storages")
    place = file.tell()
    for key in keys:
        name = str(key) if isinstance(key, str) or type(key) is int else ""
        if name not in storages.blocks:
            raise DamageError("a legacy torch file with a storage that nothing uses")
        file.seek(place)
        header = file.read(8)
        length = storages.blocks[name].size
        if len(header) < 8 or place + 8 + length > size:
            raise DamageError(f"the storage {shown(name)} ends early")
        if int.from_bytes(header, "little") * storages.item_bytes[name] != length:
            raise DamageError(f"the storage {shown(name)} has another size than its tensors say")
        places[name] = place + 8
        place += 8 + length
    if missing := [key for key in storages.blocks if key not in places]:
        raise DamageError(f"the storages {few(missing)} are missing")


def _bytes_loader(path: Path) -> Callable[[tuple[object, ...]], object]:
    """Plain pickles hold each storage as the bytes of a legacy file of its own."""
    known: dict[int, tuple[bytes, object]] = {}

    def load_bytes(args: tuple[object, ...]) -> object:
        data = args[0] if args else None
        if not isinstance(data, bytes):
            raise DamageError("its pickle makes a storage of something other than bytes")
        if id(data) not in known:
            root, _ = _legacy(path, io.BytesIO(data), len(data), nested=True)
            if not isinstance(root, Storage):
                raise DamageError("its pickle makes a storage of something else")
            known[id(data)] = data, root
        return known[id(data)][1]

    return load_bytes
