"""The untrained stand-in: repeatable, and alive enough that exports are worth comparing."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import small_config
from torch import Tensor

from rethined_export.models.rethined import (
    VARIANTS,
    Inpainted,
    Rethined,
    preset_config,
    untrained,
)

PHOTOS = sorted((Path(__file__).parents[1] / "data" / "photos").glob("*.jpg"))
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def fingerprint(model: Rethined) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module", params=VARIANTS)
def mobile(request) -> Rethined:
    return untrained(preset_config("mobile", request.param))


@pytest.fixture(scope="module", params=PHOTOS[:2], ids=lambda path: path.stem)
def photo(request) -> Tensor:
    pixels = Image.open(request.param).convert("RGB").resize((512, 512))
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].contiguous() / 255


@pytest.fixture
def result(mobile, photo) -> Inpainted:
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 150:300, 200:400] = 1
    with torch.no_grad():
        return mobile(photo, mask)


@every_variant
def test_same_seed_gives_the_same_bytes(variant):
    config = small_config(variant)
    assert fingerprint(untrained(config, 3)) == fingerprint(untrained(config, 3))
    assert fingerprint(untrained(config, 3)) != fingerprint(untrained(config, 4))


def test_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    untrained(small_config())
    assert torch.equal(torch.rand(3), expected)


def test_is_ready_to_export(mobile):
    assert not mobile.training
    assert not any(parameter.requires_grad for parameter in mobile.parameters())
    assert all(torch.isfinite(tensor).all() for tensor in mobile.state_dict().values())


def test_encoder_channels_are_alive(mobile, photo):
    """In no stage are more than a tenth of the channels constant, nor do activations blow up."""
    with torch.no_grad():
        features = mobile.coarse_model.model(photo)
    for stage, feature in enumerate(features):
        deviations = feature[0].flatten(1).std(1)
        assert (deviations < 1e-6).float().mean() <= 0.1, f"stage {stage}"
        assert 0.05 < deviations.median() < 50, f"stage {stage}"


def test_coarse_image_has_contrast(result):
    assert result.coarse.std() > 0.05
    assert ((result.coarse > 0.01) & (result.coarse < 0.99)).float().mean() > 0.9


def test_attention_prefers_some_keys(result):
    """Scores of hole queries over known keys spread, and the winners differ."""
    scores = result.scores[result.hole > 0][:, result.hole == 0]
    assert scores.std(1).mean() > 0.5
    assert len(scores.argmax(1).unique()) > 10
    assert scores.abs().max() < 1000, "half precision needs room below the forbidden score"


def test_result_is_an_image(result):
    assert result.output.shape == (1, 3, 512, 512)
    assert torch.isfinite(result.output).all()
    assert result.output.std() > 0.02
