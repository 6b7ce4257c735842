"""The ONNX export, which every target offers with `--emit onnx`."""

from collections.abc import Mapping

from mcc.backends import Emission, Emitter


def _emit(emission: Emission) -> Mapping[str, bytes]:
    # Loading onnx takes long, and few compilations end here.
    from mcc.backends.onnx import export

    return {".onnx": export(emission.module).SerializeToString()}


ONNX = Emitter("onnx", "quantized", _emit, ".onnx")
