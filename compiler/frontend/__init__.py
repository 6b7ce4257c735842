"""ONNX models in, modules out; the only folder that knows onnx on the way in."""
