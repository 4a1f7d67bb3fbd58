"""What breaks an ONNX artifact of parallel multi-resolution fusion."""

import numpy as np
import onnx

MUTATIONS: list = []
