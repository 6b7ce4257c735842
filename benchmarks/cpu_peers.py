"""The engines of benchmarks/cpu.py: each a function without arguments that runs one inference."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx

Run = Callable[[], list[np.ndarray]]
Feeds = Mapping[str, np.ndarray]


def onnxruntime(path: Path, feeds: Feeds, threads: int) -> Run:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    runtime: Any = import_module("onnxruntime")  # partly typed
    options: Any = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session: Any = runtime.InferenceSession(str(path), options, providers=providers)
    return partial(session.run, None, feeds)


def openvino(path: Path, feeds: Feeds, threads: int, precision: str = "f32") -> Run | None:
    """None where it is not installed. Quantized models run in 8 bits whatever the precision."""
    try:
        module: Any = import_module("openvino")
    except ImportError:
        return None
    core: Any = module.Core()
    model: Any = core.read_model(str(path))
    model.reshape({name: array.shape for name, array in feeds.items()})
    settings: dict[str, int | str] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    settings |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request: Any = core.compile_model(model, "CPU", settings).create_infer_request()

    def run() -> list[np.ndarray]:
        request.infer(feeds, share_inputs=True)
        return []

    return run


def tvm_default(path: Path, feeds: Feeds) -> Run:
    """TVM's own importer, operators and default pipeline, untuned."""
    tvm: Any = import_module("tvm")
    relax: Any = import_module("tvm.relax")
    importer: Any = import_module("tvm.relax.frontend.onnx")
    module = importer.from_onnx(onnx.load(path), shape_dict={k: v.shape for k, v in feeds.items()})
    target = tvm.target.Target(
        {"kind": "llvm", "mcpu": str(tvm.target.codegen.llvm_get_system_cpu())}
    )
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    arguments = [tvm.runtime.tensor(array) for array in feeds.values()]
    return partial(machine["main"], *arguments)


def quantize(path: Path, result: Path, samples: list[Feeds]) -> None:
    """U8 activations, s8 weights, QDQ nodes, by onnxruntime's own static quantization."""
    q: Any = import_module("onnxruntime.quantization")  # partly typed
    left = list(samples)

    def get_next(reader: object) -> Feeds | None:
        return left.pop() if left else None

    # The base class gives the reader its iteration.
    reader = type("Reader", (q.CalibrationDataReader,), {"get_next": get_next})
    kinds = ("Conv", "MatMul", "Gemm", "Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool")
    q.quantize_static(
        str(path),
        str(result),
        reader(),
        quant_format=q.QuantFormat.QDQ,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=list(kinds),
        extra_options={"QDQKeepRemovableActivations": False},
    )
