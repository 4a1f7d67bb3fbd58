"""Whatever torch writes comes back equal; whatever is damaged is refused, and nothing else."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoint_files import (
    CONTAINERS,
    as_legacy,
    as_module,
    as_pickle,
    as_safetensors,
    as_script,
    as_zip,
    weights,
    with_pickle,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.checkpoints import CheckpointError, describe, fit, read
from rethined_export.jobs.memory import peak_rss_bytes

DTYPES = [
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e5m2,
]  # fmt: skip
#: The same inputs every time, so that a failure is one of the change under test.
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SAVERS = {"safetensors": as_safetensors, "zip": as_zip, "legacy": as_legacy, "pickle": as_pickle}


@st.composite
def states(draw: st.DrawFn) -> dict[str, Tensor]:
    """Views of a few storages: any type, shape, strides and offset that torch allows."""
    bases = []
    for number in range(draw(st.integers(1, 3))):
        dtype = draw(st.sampled_from(DTYPES))
        generator = torch.Generator().manual_seed(number)
        values = torch.randint(0, 100, (64,), generator=generator)
        bases.append(values.to(dtype))
    state = {}
    for name in draw(
        st.lists(st.text(min_size=1, max_size=12), unique=True, min_size=1, max_size=6)
    ):
        assume(name != "__metadata__" and name.isprintable())
        base = draw(st.sampled_from(bases))
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        stride = draw(st.lists(st.integers(0, 4), min_size=len(shape), max_size=len(shape)))
        last = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        offset = draw(st.integers(0, max(0, 63 - last)))
        state[name] = base.as_strided(shape, stride, offset)
    return state


def bits(tensor: Tensor) -> Tensor:
    """Its elements' bytes, in order: NaN equals itself, and every type can be compared."""
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype)
    flat.copy_(tensor.reshape(-1))  # contiguous() keeps a stride of 0 where there is one element
    return flat.view(torch.uint8) if tensor.numel() else torch.empty(0)


@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@given(state=states())
def test_tensors_come_back(tmp_path: Path, state: dict[str, Tensor]) -> None:
    for container, save in SAVERS.items():
        save(state, tmp_path / "file")
        found = read(tmp_path / "file").tensors
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(bits(found[name]), bits(tensor)), (container, name)
            if container != "safetensors" and tensor.numel():
                assert found[name].stride() == tensor.stride()


NESTED = {"state_dict": weights(), "ema": weights(1), "optimizer": {"state": {0: weights(2)}}}


@pytest.fixture(scope="module", params=CONTAINERS)
def valid(request, tmp_path_factory) -> Path:
    """A small valid file of each container."""
    path = tmp_path_factory.mktemp("valid") / "file"
    nested = request.param in ("torch zip", "torch legacy", "pickle")
    CONTAINERS[request.param](NESTED if nested else weights(), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """No input of these tests, all under 20 kB, makes reading take more than a little."""
    before = peak_rss_bytes()
    yield
    assert peak_rss_bytes() - before < 300 << 20


def mutated(data: bytes, draw: st.DataObject) -> bytes:
    """Bytes changed, put in, taken out, repeated or cut; half of it near the start."""
    content = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        end = draw.draw(st.sampled_from([min(len(content), 600), len(content)]))
        place = draw.draw(st.integers(0, max(0, end - 1)))
        kind = draw.draw(st.sampled_from(["set", "insert", "delete", "repeat", "cut"]))
        if kind == "set":
            content[place : place + 1] = draw.draw(st.binary(min_size=1, max_size=4))
        elif kind == "insert":
            content[place:place] = draw.draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del content[place : place + draw.draw(st.integers(1, 40))]
        elif kind == "repeat":
            content[place:place] = content[place : place + draw.draw(st.integers(1, 200))]
        elif draw.draw(st.integers(0, 9)) == 0:
            del content[place:]
    return bytes(content)


def survives(path: Path) -> None:
    """Reading, listing and fitting succeed or raise the one error, in one line."""
    wanted = {name: tuple(tensor.shape) for name, tensor in weights().items()}
    for use in (describe, read, lambda p: fit(read(p), wanted), lambda p: read(p, "ema")):
        try:
            result = use(path)
            if use is describe:
                json.dumps(result.to_dict())
                assert result.lines()
        except CheckpointError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1000


@settings(FUZZ, max_examples=60)
@given(data=st.data())
def test_damage_raises_nothing_else(valid: Path, data: st.DataObject) -> None:
    path = valid.with_name("damaged")
    path.write_bytes(mutated(valid.read_bytes(), data))
    survives(path)


@pytest.fixture(scope="module")
def pickles(tmp_path_factory) -> list[bytes]:
    """The pickles of a checkpoint of mappings, of a whole module, and of a TorchScript archive."""
    path = tmp_path_factory.mktemp("pickles") / "file"
    found = []
    for save, content in ((as_zip, NESTED), (as_module, weights()), (as_script, weights())):
        save(content, path)
        with zipfile.ZipFile(path) as archive:
            found.append(archive.read("file/data.pkl"))
    return found


@settings(FUZZ, max_examples=200)
@given(data=st.data())
def test_damaged_pickles_in_whole_archives(
    tmp_path: Path, pickles: list[bytes], data: st.DataObject
) -> None:
    """Where checksums do not shield what is inside."""
    content = mutated(data.draw(st.sampled_from(pickles)), data)
    survives(with_pickle(tmp_path / "damaged", content, {str(n): bytes(432) for n in range(40)}))
