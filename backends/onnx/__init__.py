"""ONNX as a target: a quantized module leaves as a QDQ model."""
