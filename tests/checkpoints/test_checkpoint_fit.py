"""A network's weights out of a file with more in it, or with less."""

import re
from pathlib import Path

import pytest
import torch
from checkpoint_files import as_zip, tiny, weights
from torch import Tensor

from rethined_export.checkpoints import CheckpointError, Fitted, fit, read, strip

NET = weights()
WANTED = {name: tuple(tensor.shape) for name, tensor in NET.items()}
COUNTERS = re.compile(r"num_batches_tracked$")


def fitted(tmp_path: Path, content: object, key: str | None = None) -> Fitted:
    as_zip(content, tmp_path / "model.pth")
    return fit(read(tmp_path / "model.pth", key), WANTED, optional=COUNTERS)


def refusal(tmp_path: Path, content: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        fitted(tmp_path, content)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "model.pth") in message
    return message.removeprefix(str(tmp_path / "model.pth"))


def assert_fits(found: Fitted, state: dict[str, Tensor] = NET) -> None:
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    assert found.tensors.keys() == floats.keys()
    for name, tensor in found.tensors.items():
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        assert torch.equal(tensor, floats[name].float()), name


def behind(prefix: str, state: dict[str, Tensor] = NET) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "", "module.", "_orig_mod.", "module._orig_mod.", "generator.", "model.generator.",
        "net_G.", "a.b.c.d.e.", "first.", "body.1.",
    ],
)  # fmt: skip
def test_any_prefix(tmp_path: Path, prefix: str) -> None:
    found = fitted(tmp_path, behind(prefix))
    assert_fits(found)
    assert (found.prefix, found.ignored) == (prefix, {})
    tiny().load_state_dict(found.tensors, strict=False)


def test_what_others_own_is_counted(tmp_path: Path) -> None:
    content = {
        **behind("generator."),
        **{f"discriminator.{n}.weight": torch.ones(1) for n in range(301)},
        **{f"loss_{n % 2}.vgg.{n}": torch.ones(1) for n in range(11)},
    }
    found = fitted(tmp_path, {"state_dict": content, "optimizer_states": [{"m": torch.ones(1)}]})
    assert_fits(found)
    assert found.ignored == {"discriminator": 301, "loss_0": 6, "loss_1": 5}
    assert found.lines == (
        "a torch zip file",
        "weights at state_dict",
        "prefix generator. stripped",
        "ignored 313 tensors: discriminator 301, loss_0 6, loss_1 5, optimizer_states 1",
    )


def test_members_beside_a_longer_prefix(tmp_path: Path) -> None:
    content = behind("model.generator.") | {"model.critic.w": torch.ones(1), "x": torch.ones(1)}
    assert fitted(tmp_path, content).ignored == {"model.critic": 1, "x": 1}


def test_discriminator_at_the_top(tmp_path: Path) -> None:
    assert fitted(tmp_path, NET | {"netD.0.weight": torch.ones(1)}).ignored == {"netD": 1}


def test_averaged_weights_win_where_both_fit(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in NET.items()}
    content = behind("generator.", other) | behind("generator_ema.")
    found = fitted(tmp_path, content)
    assert_fits(found)
    assert "as many tensors fit behind generator." in found.lines
    assert_fits(fitted(tmp_path, content, "generator"), other)


def test_shapes_decide_between_prefixes(tmp_path: Path) -> None:
    wider = {name: torch.ones(7) for name in NET}
    assert_fits(fitted(tmp_path, behind("a.", wider) | behind("b.")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in NET.items()}
    found = fitted(tmp_path, state)
    assert_fits(found, state)
    assert f"converted to float32: {str(dtype).removeprefix('torch.')} 9" in found.lines


def test_any_strides(tmp_path: Path) -> None:
    state = NET | {
        "body.1.weight": NET["body.1.weight"].transpose(0, 1).contiguous().transpose(0, 1)
    }
    assert not state["body.1.weight"].is_contiguous()
    assert_fits(fitted(tmp_path, state))


def test_counters_may_be_missing_or_there(tmp_path: Path) -> None:
    bare = {name: tensor for name, tensor in NET.items() if not COUNTERS.search(name)}
    assert len(bare) == len(NET) - 1
    assert_fits(fitted(tmp_path, bare))
    assert_fits(fitted(tmp_path, NET | {"first.num_batches_tracked": torch.tensor(1)}))


def test_half_the_names(tmp_path: Path) -> None:
    wanted = {f"layer{n}.weight": (1,) for n in range(989)}
    as_zip({name: torch.ones(1) for name in list(wanted)[412:]}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="412 of 989 tensors are missing, first layer0") as it:
        fit(read(tmp_path / "model.pth"), wanted)
    assert len(str(it.value)) < 300 + len(str(tmp_path))


def test_another_network(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"conv.kernel": torch.ones(1), "conv.offset": torch.ones(1)})
    assert "none of its 10 tensors is there; the file has conv.kernel, conv.offset" in message


def test_names_the_network_has_not(tmp_path: Path) -> None:
    message = refusal(tmp_path, NET | {"first.extra": torch.ones(1), "attention.w": torch.ones(1)})
    assert "2 are not the network's, first attention.w, first.extra" in message
    message = refusal(tmp_path, behind("g.") | {"g.attention.w": torch.ones(1)})
    assert "1 are not the network's, first attention.w" in message


def test_other_shapes(tmp_path: Path) -> None:
    message = refusal(tmp_path, NET | {"first.bias": torch.ones(5)})
    assert "1 have another shape, first first.bias is (5,), not (4,)" in message


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    message = refusal(tmp_path, NET | {"first.bias": torch.ones(4, dtype=torch.int8)})
    assert "1 are not of a float type, first first.bias (int8)" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_diverged(tmp_path: Path, value: float) -> None:
    bad = NET["first.weight"].clone()
    bad.view(-1)[-1] = value
    message = refusal(tmp_path, NET | {"first.weight": bad})
    assert "1 of 9 tensors hold NaN or Inf; the training diverged (first first.weight)" in message


def test_float64_beyond_float32(tmp_path: Path) -> None:
    bad = NET["first.weight"].double()
    bad[0, 0, 0, 0] = 1e39
    message = refusal(tmp_path, NET | {"first.weight": bad})
    assert "beyond float32's range" in message


def test_other_places_are_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"one": {"x": torch.ones(1)}, "two": {"y": torch.ones(1)}})
    assert "it was read at one, other places are two" in message


@pytest.mark.parametrize(
    "keys,prefix",
    [
        (["coarse_model.a", "generator.b"], ""),
        (["model.coarse_model.a", "model.generator.b", "optimiser.c"], "model."),
        (["module._orig_mod.generator.encoder_decoder.x"], "module._orig_mod."),
        (["generator.encoder_decoder.x", "generator.coarse_model.x"], ""),
        (["x", "y.z"], ""),
        ([], ""),
    ],
)
def test_strip_by_a_function(keys: list[str], prefix: str) -> None:
    assert strip(keys, lambda name: name.startswith(("coarse_model.", "generator."))) == prefix


def test_strip_by_names() -> None:
    assert strip(behind("a.b."), WANTED) == "a.b."
