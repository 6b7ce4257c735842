"""Sessions on made-up inputs, and how long a run of them takes at best."""

import time
from collections.abc import Callable

import numpy as np

from mcc import Session
from mcc.ir import DType
from mcc.runtime import Artifact

WITHOUT_AMX = """name = "cpu-without-amx"
backend = "cpu"
description = "this machine without its tile registers"
[host]
features = ["-amx-tile"]
"""
"""A target file."""

Run = Callable[[], object]


def run_of(artifact: Artifact, threads: int) -> Run:
    """An inference with so many threads, on inputs of the right types."""
    session = Session(artifact, threads=threads)
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for port in artifact.manifest.inputs:
        if port.dtype == "f32":
            feeds[port.name] = rng.random(port.shape, "f4")
        else:
            feeds[port.name] = np.zeros(port.shape, DType(port.dtype).numpy)
    return lambda: session.run(None, feeds)


def best(run: Run, seconds: float, clock: Callable[[], float]) -> float:
    """The shortest run by `clock`, of those that fit into so many seconds."""
    least, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = clock()
        run()
        least = min(least, clock() - started)
    return least
