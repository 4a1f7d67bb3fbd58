"""A narrow DFNet and its artifacts; light to import, for the process that converts."""

from pathlib import Path

from rethined_export.converters import converter
from rethined_export.models.dfnet import STAND_IN_GAIN, DfNet, DfNetInpainter
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.dfnet import RECIPE
from rethined_export.recipes.dfnet.options import DfNetOptions

OPTIONS = DfNetOptions(size="512x256")


def narrow() -> DfNetInpainter:
    """Every layer of the network, of a few channels."""
    network = DfNet((16, 12, 10, 8, 8, 8, 8, 8)).eval().requires_grad_(False)
    seed_weights(network, STAND_IN_GAIN)
    return DfNetInpainter(network).eval()


def write(target: str, part: str, path: Path) -> None:
    """Convert it."""
    converter(target).convert(RECIPE.program(OPTIONS, narrow(), part), path)
