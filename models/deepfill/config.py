"""What the ports of DeepFill differ in, and their presets."""

from dataclasses import dataclass
from typing import Literal

#: Image pixels along one side of a pixel of the map that attention works on.
STRIDE = 4
#: The same for a position that attends: every second pixel of that map.
POSITION = 2 * STRIDE

Port = Literal["tf", "nipponjo", "mmagic", "daa"]
Padding = Literal["same", "zeros", "reflect"]


@dataclass(frozen=True)
class AttentionConfig:
    """What the ports' contextual attentions differ in.

    Attributes:
        fuse: neighbouring matches support each other.
        align_corners: maps are shrunk so that their last row and column stay the last; otherwise
            by every second, or eighth, pixel from the first.
        floor_inside: 1e-4 is added to every square under the root of a patch's norm, which
            otherwise is at least 1e-4.
        excludes: patches that touch the hole take no part in the softmax; otherwise they do with a
            score of 0, and what they won is dropped.
        counts_overlap: a pixel is the mean of the patches that cover it; otherwise a quarter of
            their sum, also at the border, where fewer do.
    """

    fuse: bool = True
    align_corners: bool = False
    floor_inside: bool = False
    excludes: bool = False
    counts_overlap: bool = False


@dataclass(frozen=True)
class DeepfillConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: its name.
        port: whose names the tensors have.
        gated: v2, whose convolutions are gated and whose images end in tanh; v1's are plain and
            its images are cut off at ±1.
        padding: zeros as TensorFlow has them (``same``), zeros on all sides, or reflection.
        gated_output: the layers that paint are gated too.
        second_sees_mask: the second stage takes ones and the mask beside the image.
        relu: ends the layer before attention, where the others have an ELU.
        bgr: the order of the colours it was trained on.
        attention: the port's own form of it.
        gain: of the kernels of :func:`~rethined_export.models.seeded.seed_weights`.
        width: channels at full resolution. painter_width: the same where the second stage paints.
    """

    preset: str
    port: Port
    gated: bool
    padding: Padding
    attention: AttentionConfig
    gain: float
    width: int
    painter_width: int
    gated_output: bool = False
    second_sees_mask: bool = False
    relu: bool = True
    bgr: bool = False

    @property
    def smallest_side(self) -> int:
        """Pixels: reflection by 16, the largest dilation, needs a map of 17 or more."""
        return 72 if self.padding == "reflect" else 64

    def check_size(self, height: int, width: int) -> None:
        """Whether the network takes images of a size.

        Raises:
            ValueError: a side that is too small, or no multiple of 8.
        """
        if height % POSITION or width % POSITION or min(height, width) < self.smallest_side:
            raise ValueError(
                f"DeepFill ({self.preset}) cannot take {width}×{height}: sides are multiples of "
                f"{POSITION} from {self.smallest_side}"
            )


_MMAGIC = AttentionConfig(excludes=True, counts_overlap=True)

PRESETS: dict[str, DeepfillConfig] = {
    "v2-tf": DeepfillConfig(
        "v2-tf",
        "tf",
        gated=True,
        padding="same",
        attention=AttentionConfig(fuse=False, align_corners=True),
        gain=2.2,
        width=24,
        painter_width=24,
    ),
    "v2-nipponjo": DeepfillConfig(
        "v2-nipponjo",
        "nipponjo",
        gated=True,
        padding="zeros",
        attention=AttentionConfig(),
        gain=2.2,
        width=24,
        painter_width=24,
    ),
    "v2-mmagic": DeepfillConfig(
        "v2-mmagic",
        "mmagic",
        gated=True,
        padding="reflect",
        attention=_MMAGIC,
        gain=2.2,
        width=24,
        painter_width=32,
        gated_output=True,
        second_sees_mask=True,
        relu=False,
        bgr=True,
    ),
    "v1-daa": DeepfillConfig(
        "v1-daa",
        "daa",
        gated=False,
        padding="zeros",
        attention=AttentionConfig(floor_inside=True),
        gain=1.1,
        width=32,
        painter_width=32,
        second_sees_mask=True,
    ),
    "v1-mmagic": DeepfillConfig(
        "v1-mmagic",
        "mmagic",
        gated=False,
        padding="reflect",
        attention=_MMAGIC,
        gain=1.1,
        width=32,
        painter_width=32,
        second_sees_mask=True,
        relu=False,
        bgr=True,
    ),
}
