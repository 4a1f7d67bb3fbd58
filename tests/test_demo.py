"""The demo's own check of what it shows."""

import numpy as np

from rethined_export.demo import from_torch


def test_one_wrong_pixel_shows_whichever_way_it_is_wrong() -> None:
    torch = np.full((4, 5, 3), 128, np.uint8)
    brighter, darker = torch.copy(), torch.copy()
    brighter[1, 2, 0], darker[3, 4, 2] = 255, 1
    found = from_torch({"torch": torch, "ONNX": brighter, "TFLite": torch, "Core ML": darker})
    assert found[1, 2, 0] == found[3, 4, 2] == 127
    assert np.count_nonzero(found) == 2
