"""Verified ONNX, TFLite and Core ML exports of RETHINED inpainting models."""
