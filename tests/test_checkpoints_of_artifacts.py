"""Which files an artifact was made from: told by their bytes, wherever they lie now."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rethined_export.artifacts import Manifest
from rethined_export.checkpoints import combined, digest, read
from rethined_export.errors import UserError
from rethined_export.export import find_checkpoints
from rethined_export.recipes.twostage.options import TwoStageOptions
from rethined_export.spec import ExportSpec
from tests.checkpoints.checkpoint_files import as_safetensors, as_safetensors_shards, weights
from tests.test_artifacts import manifest


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two checkpoints, and a third."""
    made = [tmp_path / f"{name}.safetensors" for name in ("coarse", "refine", "other")]
    for seed, path in enumerate(made):
        as_safetensors(weights(seed), path)
    return made


def made_from(*paths: Path) -> Manifest:
    first, *others = map(str, paths)
    spec = ExportSpec(
        "two-stage", "onnx", TwoStageOptions(), checkpoint=first, more_checkpoints=tuple(others)
    )
    sha256 = combined([digest(path) for path in paths])
    return replace(manifest(spec), weights_sha256=sha256)


def test_spec_with_two_files_goes_through_json(files):
    spec = made_from(*files[:2]).spec
    assert spec.source is not None
    assert spec.source.files == tuple(files[:2])
    assert ExportSpec.from_dict(spec.to_dict() | {"more_checkpoints": [str(files[1])]}) == spec


def test_recorded_files_are_found_and_others_taken_in_any_order(files, tmp_path):
    made = made_from(*files[:2])
    assert find_checkpoints(made, ()) == tuple(files[:2])
    moved = [path.rename(tmp_path / f"moved-{path.name}") for path in files[:2]]
    with pytest.raises(UserError, match=re.escape(f"cannot read checkpoint {files[0]}")):
        find_checkpoints(made, ())
    assert find_checkpoints(made, (moved[1], moved[0])) == (moved[1], moved[0])


@pytest.mark.parametrize("given", [[0], [1], [0, 2], [0, 0]])
def test_other_files_are_refused(files, given):
    made = made_from(*files[:2])
    with pytest.raises(UserError, match=r"are not the checkpoints .*--checkpoint FILE for each"):
        find_checkpoints(made, tuple(files[number] for number in given))


def test_one_file_is_told_by_itself(files):
    assert digest(files[0]) == read(files[0]).sha256 == combined([digest(files[0])])
    with pytest.raises(UserError, match=r"other.safetensors is not the checkpoint"):
        find_checkpoints(made_from(files[0]), (files[2],))


def test_shards_are_told_by_all_of_them(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    as_safetensors_shards(weights(), index)
    made = replace(made_from(index), weights_sha256=read(index).sha256)
    assert find_checkpoints(made, ()) == (index,)
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="is not the checkpoint"):
        find_checkpoints(made, ())
