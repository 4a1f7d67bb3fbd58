"""Pickles that would run code do not, and files that would take all memory are refused."""

import builtins
import contextlib
import copyreg
import functools
import importlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import as_zip, legacy_bytes, weights, with_pickle

from rethined_export.checkpoints import CheckpointError, read


class Calls:
    """Unpickled by Python, this calls a function."""

    def __init__(self, function: object, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.args


#: Objects that make the witness when Python unpickles them, each in another way.
TRAPS: dict[str, Callable[[Path], object]] = {
    "os.system": lambda witness: Calls(os.system, f"touch {witness}"),
    "exec": lambda witness: Calls(builtins.exec, f"__import__('os').mkdir({str(witness)!r})"),
    "eval": lambda witness: Calls(builtins.eval, f"__import__('os').mkdir({str(witness)!r})"),
    "a method": lambda witness: Calls(Path.touch, witness),
    "a subprocess": lambda witness: Calls(subprocess.check_output, ["touch", str(witness)]),
    "nested getattr": lambda witness: Calls(
        map_list, Calls(getattr, Calls(importlib.import_module, "os"), "mkdir"), [str(witness)]
    ),
    "a partial": lambda witness: Calls(map_list, functools.partial(os.mkdir), [str(witness)]),
    "a pickle in a pickle": lambda witness: Calls(
        pickle.loads, pickle.dumps(Calls(os.mkdir, str(witness)))
    ),
    "torch.load": lambda witness: Calls(
        functools.partial(torch.load, weights_only=False), str(saved_trap(witness))
    ),
}


def map_list(function: Callable[[str], object], items: list[str]) -> list[object]:
    return [function(item) for item in items]


def saved_trap(witness: Path) -> Path:
    path = witness.with_suffix(".saved")
    torch.save(Calls(os.mkdir, str(witness)), path)
    return path


def assert_works(trap: object, witness: Path) -> None:
    """Python's own unpickler is caught."""
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(trap))
    assert witness.exists(), "the trap would not have worked at all"
    witness.rmdir() if witness.is_dir() else witness.unlink()


def in_plain_pickle(content: object) -> bytes:
    return pickle.dumps(content)


def in_zip(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize("written", [in_zip, legacy_bytes, in_plain_pickle])
@pytest.mark.parametrize("name", TRAPS)
def test_nothing_runs(tmp_path: Path, name: str, written: Callable[[object], bytes]) -> None:
    witness, path = tmp_path / "witness", tmp_path / "model.pth"
    trap = TRAPS[name](witness)
    assert_works(trap, witness)
    path.write_bytes(written(trap))
    with pytest.raises(CheckpointError, match="holds no named tensors"):
        read(path)
    path.write_bytes(written({"state_dict": weights() | {"w": trap}, "extra": [trap]}))
    assert read(path).tensors.keys() == weights().keys()
    assert not witness.exists()


def test_an_old_way_to_call(tmp_path: Path) -> None:
    """INST and OBJ, of protocols 0 and 1."""
    witness = tmp_path / "witness"
    text = str(witness).encode()
    for data in (b"(S'%s'\nios\nmkdir\n." % text, b"(cos\nmkdir\nS'%s'\no." % text):
        with pytest.raises(CheckpointError, match=r"an? \w+\.mkdir"):
            read(with_pickle(tmp_path / "model.pth", data))
        assert not witness.exists()
        pickle.loads(data)
        witness.rmdir()


def test_functions_are_not_changed(tmp_path: Path) -> None:
    """BUILD writes into whatever it stands on; here there is nothing of ours to write into."""
    attack = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__"
        b"(I1\nI2\nI3\nI4\nI5\nI6\ntstb."
    )
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(CheckpointError):
        read(with_pickle(tmp_path / "model.pth", attack))
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    as_zip(weights(), tmp_path / "model.pth")
    assert read(tmp_path / "model.pth").tensors.keys() == weights().keys()


def test_registered_extensions_are_not_looked_up(tmp_path: Path) -> None:
    copyreg.add_extension("os", "mkdir", 77)
    try:
        witness = tmp_path / "witness"
        data = b"\x80\x02\x82MX%s%s\x85R." % (
            struct.pack("<I", len(str(witness))),
            str(witness).encode(),
        )
        with pytest.raises(CheckpointError, match="EXT1"):
            read(with_pickle(tmp_path / "model.pth", data))
        assert not witness.exists()
        pickle.loads(data)
        assert witness.exists()
    finally:
        copyreg.remove_extension("os", "mkdir", 77)


def storage(count: int = 4, key: bytes = b"0") -> bytes:
    return (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00%sX\x03\x00\x00\x00cpuI%d\ntQ"
        % (
            key,
            count,
        )
    )


def tensor(offset: int, shape: str, stride: str, count: int = 4) -> bytes:
    """A state dict of one tensor over 16 stored bytes, as pickled by torch."""

    def numbers(text: str) -> bytes:
        return b"(" + b"".join(b"L%dL\n" % int(n) for n in text.split()) + b"t"

    return (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(%sL%dL\n%s%sI00\n}tRs."
        % (storage(count), offset, numbers(shape), numbers(stride))
    )


def test_the_tensor_used_below_is_one(tmp_path: Path) -> None:
    path = with_pickle(tmp_path / "model.pth", tensor(1, "3", "1"), {"0": bytes(16)})
    assert read(path).tensors["a"].shape == (3,)


@pytest.mark.parametrize(
    "data",
    [
        tensor(2, "3", "1"),
        tensor(-1, "3", "1"),
        tensor(0, "2 2", "3 1"),
        tensor(0, "2 2", "1"),
        tensor(3, "2", "-1"),
        tensor(0, "-1", "1"),
        tensor(0, f"{1 << 40} {1 << 40}", "0 0"),
        tensor(0, f"{1 << 70}", "0"),
        tensor(1 << 62, "1", "1"),
        tensor(0, "1 " * 20, "1 " * 20),
        tensor(0, f"0 {1 << 59} {1 << 59}", "1 1 1"),
        tensor(0, "5", "1", 5),
        tensor(0, "1", "1", -4),
    ],
)
def test_tensors_outside_their_storage(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        read(with_pickle(tmp_path / "model.pth", data, {"0": bytes(16)}))


@pytest.mark.parametrize(
    "data",
    [
        b".",
        b"0.",
        b"h\x05.",
        b"]K\x01s.",
        b"}(K\x01u.",
        b"\x85.",
        b"K\x01K\x02\x87.",
        b"X\x01\x00\x00\x00aQ.",
        b"Pname\n.",
        b"(Vmodule\ntQ.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_parameter\n)R.",
        b"c_codecs\nencode\n)R.",
        b"c_codecs\nencode\n(V\\u1234\ntR.",
        b"\x97.",
        b"I" + b"9" * 5000 + b"\n.",
        b"V" + b"x" * 100_000 + b"\n.",
        b"\xff.",
        b"}",
        b"",
    ],
)
def test_pickles_that_are_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        read(with_pickle(tmp_path / "model.pth", data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"x.",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x04B\xff\xff\xff\x7fx.",
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    ],
)
def test_lengths_beyond_the_file(tmp_path: Path, data: bytes) -> None:
    """Nothing is set aside for them."""
    (tmp_path / "model.pkl").write_bytes(data)
    for path in (tmp_path / "model.pkl", with_pickle(tmp_path / "model.pth", data)):
        with pytest.raises(CheckpointError, match="its pickle ends early"):
            read(path)


def test_modules_that_hold_themselves(tmp_path: Path) -> None:
    module = (
        b"\x80\x02c__main__\nNet\n)\x81q\x00}X\x0b\x00\x00\x00_parameters}"
        b"sX\x08\x00\x00\x00_modules}X\x04\x00\x00\x00selfh\x00ssb."
    )
    with pytest.raises(CheckpointError, match="nested deeper"):
        read(with_pickle(tmp_path / "model.pth", module))
    mapping = b"\x80\x02}q\x00X\x04\x00\x00\x00selfh\x00s."
    with pytest.raises(CheckpointError, match="no named tensors"):
        read(with_pickle(tmp_path / "model.pth", mapping))


# --- Small files that claim much more -------------------------------------------------------------

NET = b"c__main__\nNet\n)\x81}(X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_modules}("
STRING = b"X\x06\x00\x00\x00"


def numbered(count: int, value: bytes) -> bytes:
    """Keys that are numbers, each with the same value."""
    return b"".join(b"J%s%s" % (struct.pack("<i", n), value) for n in range(count))


def pickle_bombs(size: int) -> dict[str, bytes]:
    """Pickles of up to ``size`` bytes, by what they try."""
    laughs = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(120))
    deep = b"\x80\x02)" + b"\x85" * (size - 100)
    modules = b"\x80\x02" + NET + b"uubq\x00"
    for n in range(60):
        modules += NET + STRING + b"first_h%c" % n + STRING + b"secondh%cuubq%c" % (n, n + 1)
    shared = tensor(0, "3", "1")[:-2] + b"q\x00000"
    name = b"X" + struct.pack("<I", 4000) + b"n" * 4000 + b"q\x010"
    pairs = b"".join(b"](J%sNe" % struct.pack("<i", n) for n in range(size // 16))
    pairs = b"\x80\x02](" + pairs + b"eq\x000"
    text = b"\x80\x02X" + struct.pack("<I", size // 2) + b"x" * (size // 2) + b"q\x00"
    return {
        "a far memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "far memos": b"\x80\x02N" + b"r\xff\xff\xff\x3f" * (size // 6) + b".",
        "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        "a long bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"x.",
        "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        "a long number": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
        "a long frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
        "tuples of tuples as a key": laughs + b"}hxNs.",
        "tuples of tuples": laughs + b".",
        "deep tuples as a key": deep + b"q\x000}h\x00Ns.",
        "deep tuples": deep + b".",
        "deep lists": b"\x80\x02" + b"]" * (size // 2 - 50) + b"a" * (size // 2 - 51) + b".",
        "deep mappings": b"\x80\x02" + b"}K\x01" * (size // 5) + b"}" + b"s" * (size // 5) + b".",
        "a long key": b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b"q\x010}("
        + b"h\x01N" * (size // 4) + b"u.",
        "copies of pairs": pairs + b"ccollections\nOrderedDict\nq\x01"
        + b"h\x01h\x00\x85R" * (size // 16) + b".",
        "copies of bytes": text + b"c_codecs\nencode\nq\x01"
        + b"h\x01h\x00\x85R" * (size // 16) + b".",
        "many states": b"\x80\x02}(" + numbered(size // 16, b"N") + b"uq\x000ca\nb\n)R"
        + b"h\x00b" * (size // 8) + b".",
        "modules of modules": modules + b".",
        "marks": b"\x80\x02" + b"(" * (size - 100) + b".",
        "sets": b"\x80\x04" + b"\x8f" * (size - 100) + b".",
        "objects": b"\x80\x02ca\nb\nq\x00" + b"h\x00)R" * (size // 5) + b".",
        "names": b"\x80\x02" + b"".join(b"ca\n%x\n" % n for n in range(size // 10)) + b".",
        "long places": shared + name + b"}h\x01" * 6 + b"}("
        + numbered(size // 12, b"}Va\nh\x00s") + b"u" + b"s" * 6 + b".",
        "an endless tensor": tensor(0, f"{1 << 25} {1 << 25}", "0 0"),
        "a tensor many times": tensor(0, str(1 << 22), "0")[:-2] + b"q\x00s("
        + b"".join(b"V%x\nh\x00" % n for n in range(size // 12)) + b"u.",
    }  # fmt: skip


def bombs(folder: Path, size: int) -> list[Path]:
    """Files of up to ``size`` bytes; their names say what they try."""
    paths = [
        with_pickle(folder / f"{name}.zip", data, {"0": bytes(16)})
        for name, data in pickle_bombs(size).items()
    ]
    for name in ("data.pkl", "data 0"):
        paths.append(folder / f"deflated {name}.zip")
        with zipfile.ZipFile(paths[-1], "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr(f"a/{name.replace(' ', '/')}", b"]" * (size * 500))
            if name != "data.pkl":
                archive.writestr("a/data.pkl", tensor(0, str(size * 125), "1", size * 125))
    entry = {"dtype": "U8", "shape": [size // 2], "data_offsets": [0, size // 2]}
    text = json.dumps({str(n): entry for n in range(size // 160)}).encode()
    paths.append(folder / "overlapping.safetensors")
    paths[-1].write_bytes(struct.pack("<Q", len(text)) + text + bytes(size // 2))
    data = np.zeros(size // 2, np.uint8)
    paths.append(folder / "arrays over the same bytes.pickle")
    paths[-1].write_bytes(shared_arrays(data.tobytes(), size // 20))
    paths.append(folder / "nested.json")
    paths[-1].write_bytes(b'{"weight_map":' + b"[" * (size - 100))
    return paths


def shared_arrays(data: bytes, count: int) -> bytes:
    """Arrays of all of the same bytes, by name."""
    kind = b"cnumpy\ndtype\n(Vu1\nI00\nI01\ntRq\x01"
    array = b"cnumpy._core.numeric\n_frombuffer\nq\x02B%s%sq\x00%s(I%d\ntVC\ntq\x03" % (
        struct.pack("<I", len(data)), data, kind, len(data),
    )  # fmt: skip
    array = array.replace(b"q\x02B", b"q\x02(B")
    each = b"".join(b"V%x\nh\x02h\x03R" % n for n in range(count))
    return b"\x80\x04" + array + b"}(" + each + b"u."


SCRIPT = """
import sys, time
from pathlib import Path
from rethined_export.checkpoints import CheckpointError, read
from rethined_export.jobs.memory import peak_rss_bytes
before = peak_rss_bytes()
for line in sys.stdin:
    begin = time.monotonic()
    try:
        read(Path(line.strip()))
        said = "read"
    except CheckpointError as error:
        said = str(error)
    peak = peak_rss_bytes() - before >> 20
    print(f"{time.monotonic() - begin:.2f}\\t{peak}\\t{said}", flush=True)
"""


REFUSED = {"an endless tensor", "a tensor many times", "copies of pairs", "deflated data 0"}


#: Work and memory are linear in a file's size, so what holds for a twentieth of a megabyte shows
#: what holds for one. Memory is counted above what torch takes, which each machine has its own of.
@pytest.mark.parametrize(
    "size,megabytes", [(50_000, 120), pytest.param(1_000_000, 670, marks=pytest.mark.slow)]
)
def test_bombs(tmp_path: Path, size: int, megabytes: int) -> None:
    """An error each, or nothing in it, in time and memory that fit the file."""
    paths = bombs(tmp_path, size)
    assert max(path.stat().st_size for path in paths) <= size * 1.1
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=280,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == len(paths), f"died at {paths[len(lines)].name}: {done.stderr[-500:]}"
    for path, (seconds, peak, said) in zip(paths, lines, strict=True):
        assert said.startswith((str(path), "read")), (path.name, said)
        assert float(seconds) < 60, path.name
        assert int(peak) < megabytes, (path.name, peak)
        assert said != "read" or path.stem not in REFUSED, path.name
