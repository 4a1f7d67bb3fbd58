"""How each port names its layers; their order is the order in which they run."""

from typing import NamedTuple

from rethined_export.models.deepfill.config import DeepfillConfig


class Names(NamedTuple):
    """Places of the layers in a network, dotted; each layer holds its convolution as ``conv``.

    Attributes:
        coarse: 17 layers of the first stage.
        surroundings: 10 layers of the second stage's first branch.
        matching: 6 layers before attention, on the second branch.
        attention: where it stands. fuse_kernel: its constant; empty where files do not hold it.
        matched: 2 layers after it.
        painter: 7 layers behind both branches.
    """

    coarse: list[str]
    surroundings: list[str]
    matching: list[str]
    attention: str
    fuse_kernel: str
    matched: list[str]
    painter: list[str]


def names_of(config: DeepfillConfig) -> Names:
    """The names of a port."""
    match config.port:
        case "tf":
            return _flat("", "", "", up=".conv", attention="contextual_attention")
        case "daa":
            fine = "fine_generator."
            return _flat("coarse_generator.", fine, fine, up="", attention="contextul_attention")
        case "nipponjo":
            return _nipponjo()
        case "mmagic":
            return _mmagic(".conv" if config.gated else "")


def _numbered(prefix: str, first: int, last: int, up: str) -> list[str]:
    """As in the authors' own code, which says in a layer's name what is special about it."""
    special = {2: "_downsample", 4: "_downsample"} | dict.fromkeys(range(7, 11), "_atrous")
    if up:
        special |= {13: f"_upsample{up}", 15: f"_upsample{up}"}
    return [f"{prefix}{n}{special.get(n, '')}" for n in range(first, last + 1)]


def _flat(coarse: str, fine: str, attended: str, up: str, attention: str) -> Names:
    surroundings = f"{fine}xconv" if not fine else f"{fine}conv"
    matching = _numbered(f"{fine}pmconv", 1, 6, up)
    return Names(
        coarse=_numbered(f"{coarse}conv", 1, 17, up),
        surroundings=_numbered(surroundings, 1, 10, up),
        matching=matching,
        attention=f"{attended}{attention}",
        fuse_kernel="",
        matched=[f"{fine}pmconv9", f"{fine}pmconv10"],
        painter=_numbered(f"{fine}allconv", 11, 17, up),
    )


def _nipponjo() -> Names:
    up = [f"up_block{n}.{conv}" for n in (1, 2) for conv in ("conv1_upsample.conv", "conv2")]

    def down(prefix: str) -> list[str]:
        blocks = [f"{prefix}down_block{n}" for n in (1, 2)]
        halves = [f"{block}.{conv}" for block in blocks for conv in ("conv1_downsample", "conv2")]
        return [f"{prefix}conv1", *halves]

    coarse = [*down(""), *(f"conv_bn{n}" for n in range(1, 8)), *up, "conv_to_rgb"]
    surroundings = [*down("conv_"), *(f"conv_conv_bn{n}" for n in range(1, 6))]
    return Names(
        coarse=[f"stage1.{name}" for name in coarse],
        surroundings=[f"stage2.{name}" for name in surroundings],
        matching=[f"stage2.{name}" for name in (*down("ca_"), "ca_conv_bn1")],
        attention="stage2.contextual_attention",
        fuse_kernel="fuse_weight",
        matched=["stage2.ca_conv_bn4", "stage2.ca_conv_bn5"],
        painter=[f"stage2.{name}" for name in ("conv_bn6", "conv_bn7", *up, "conv_to_rgb")],
    )


def _mmagic(inner: str) -> Names:
    def part(place: str, name: str, numbers: range) -> list[str]:
        return [f"{place}.{name}{n}{inner}" for n in numbers]

    def dilated(stage: str) -> list[str]:
        return part(f"{stage}.dilation_neck", "dilation_convs.", range(4))

    neck = "stage2.contextual_attention_neck"
    return Names(
        coarse=[
            *part("stage1.encoder", "enc", range(1, 7)),
            *dilated("stage1"),
            *part("stage1.decoder", "dec", range(1, 8)),
        ],
        surroundings=[*part("stage2.encoder_conv", "enc", range(1, 7)), *dilated("stage2")],
        matching=part("stage2.encoder_attention", "enc", range(1, 7)),
        attention=f"{neck}.contextual_attention",
        fuse_kernel="fuse_kernel",
        matched=part(neck, "conv", range(1, 3)),
        painter=part("stage2.decoder", "dec", range(1, 8)),
    )
