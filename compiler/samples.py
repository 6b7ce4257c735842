"""Inputs for an artifact: read from files as calibration reads them, or made up."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from mcc.ir import Array, DType, Module, Region, Tensor, UserError, Yield
from mcc.ops import quantize_array
from mcc.passes import LABELS, load_samples
from mcc.runtime import Manifest, Port

Feeds = Mapping[str, Array]


def read_samples(source: str, manifest: Manifest, limit: int | None = None) -> list[Feeds]:
    """One feed a sample, from an .npz or a folder of .npy files; `UserError` if they do not fit.

    Where the artifact's inputs are quantized, float samples are quantized on the way.
    """
    try:
        return list(islice(load_samples(_signature(manifest), source), limit))
    except UserError:
        if all(port.scale is None for port in manifest.inputs):
            raise
        return _quantized_samples(manifest, source, limit)


def labels_in(source: str, count: int) -> tuple[list[int] | None, str]:
    """The class labels beside the inputs of an .npz, or why its array of them is of no use."""
    if Path(source).suffix != ".npz":
        return None, ""
    with np.load(source, allow_pickle=False) as file:
        named = [name for name in file.files if name.lower() in LABELS]
        if len(named) != 1:
            return None, ""
        labels = file[named[0]]
    if labels.ndim != 1 or len(labels) < count or labels.dtype.kind not in "iu":
        shown = f"{labels.dtype}[{', '.join(map(str, labels.shape))}]"
        return None, f"array {named[0]!r} is {shown}, not one class number a sample; left out"
    return [int(label) for label in labels[:count]], ""


def random_samples(manifest: Manifest, count: int, seed: int = 0) -> list[Feeds]:
    """Uniform inputs over the range that calibration saw, else [0, 1]; 0 or 1 for indices."""
    generator = np.random.default_rng(seed)
    samples: list[Feeds] = []
    for _ in range(count):
        feeds: dict[str, Array] = {}
        for port in manifest.inputs:
            dtype = DType(port.dtype)
            if dtype.is_float:
                low = 0.0 if port.low is None else port.low
                high = 1.0 if port.high is None else port.high
                array: Array = generator.uniform(low, high, port.shape)
            elif port.scale is not None:
                first, last = dtype.limits
                array = generator.integers(first, last + 1, port.shape)
            else:
                array = generator.integers(0, 2, port.shape)
            feeds[port.name] = array.astype(dtype.numpy)
        samples.append(feeds)
    return samples


def example_feeds(manifest: Manifest, source: str | Path | None, count: int) -> list[Feeds]:
    """The first samples of a file or folder, or made-up ones; quantized for integer inputs."""
    if source is None:
        return random_samples(manifest, count)
    return read_samples(str(source), manifest, count)


def _quantized_samples(manifest: Manifest, source: str, limit: int | None) -> list[Feeds]:
    scales = {port.name: port for port in manifest.inputs if port.scale is not None}
    real = tuple(
        port.model_copy(update={"dtype": DType.F32.value}) if port.name in scales else port
        for port in manifest.inputs
    )
    signature = _signature(manifest.model_copy(update={"inputs": real}))
    return [
        {
            name: _quantized(array, scales[name]) if name in scales else array
            for name, array in feeds.items()
        }
        for feeds in islice(load_samples(signature, source), limit)
    ]


def _quantized(array: Array, port: Port) -> Array:
    dtype = DType(port.dtype)
    scale, zero = np.asarray(port.scale or 1.0, np.float32), np.asarray(port.zero or 0)
    return quantize_array(array, scale, zero, dtype)


def real_numbers(array: Array, port: Port) -> Array:
    """What an array at a port stands for: quantized ones as float32, others as they are."""
    if port.scale is None:
        return array
    zero = np.float32(port.zero or 0)
    return np.asarray((array.astype(np.float32) - zero) * np.float32(port.scale))


def _signature(manifest: Manifest) -> Module:
    """A module that has the artifact's inputs and nothing else."""
    types = [Tensor(DType(port.dtype), port.shape) for port in manifest.inputs]
    region = Region(types, [port.name for port in manifest.inputs])
    region.append(Yield(()))
    return Module(manifest.model, region, ())
