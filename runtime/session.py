"""Running an artifact, with the calls that an onnxruntime user knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mcc.ir import Array, DType, UserError, known_names

from .artifact import Artifact, Manifest, Port, load
from .outcome import Observer, RunOutcome, RunStats

_ORT_TYPES = {
    "f16": "float16",
    "f32": "float",
    "f64": "double",
    "i1": "bool",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
}


@dataclass(frozen=True)
class NodeArg:
    """An input or output as onnxruntime describes it: name, shape, `tensor(float)`."""

    name: str
    shape: list[int | str]
    type: str


class Runner(Protocol):
    """Executes one inference at the compiled batch size."""

    def run(self, feeds: Mapping[str, Array], observe: Observer | None = None) -> RunOutcome:
        """Run; `observe` sees every tensor that exists in memory during it."""
        ...


class Session:
    """A loaded artifact. `run` may be called with a larger batch where the model's was symbolic."""

    def __init__(self, model: str | Path | Artifact, *, threads: int | None = None) -> None:
        """Load `model` (a path or an `Artifact`); `threads` is for compiled CPU code.

        Raises:
            UserError: For a missing or damaged artifact, or a machine that cannot run it.
        """
        self.artifact = model if isinstance(model, Artifact) else load(model)
        self._runner = runner_for(self.artifact, threads)
        self.last_stats = RunStats()
        self._compiled = tuple(
            (port.name, np.dtype(DType(port.dtype).numpy), port.shape)
            for port in self.manifest.inputs
        )
        self._outputs = [port.name for port in self.manifest.outputs]

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    def get_inputs(self) -> list[NodeArg]:
        """Inputs in the model's order."""
        return [self._describe(port) for port in self.manifest.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """Outputs in the model's order."""
        return [self._describe(port) for port in self.manifest.outputs]

    def run(
        self, output_names: Sequence[str] | None, feeds: Mapping[str, Array], options: object = None
    ) -> list[Array]:
        """Run the model.

        Args:
            output_names: Which outputs to return, in which order; None for all.
            feeds: An array for each input, of its dtype and shape; where the model's batch was
                symbolic, the first dimension may be any.
            options: Taken and ignored, for onnxruntime's signature.

        Raises:
            UserError: For unknown or missing names, wrong dtypes or shapes.
        """
        del options
        wanted = self._wanted(output_names) if output_names else self._outputs
        if self._is_as_compiled(feeds):
            outcome = self._runner.run(feeds)
            self.last_stats, results = outcome.stats, outcome.outputs
        else:
            results = self._converted(feeds)
        try:
            return [results[name] for name in wanted]
        except KeyError as error:
            raise UserError(
                f"the program does not compute output {error.args[0]!r} of the manifest",
                where="the artifact",
                remedy="compile the model again",
            ) from None

    def _wanted(self, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            if name not in self._outputs:
                raise UserError(
                    f"the model has no output {name!r}", remedy=known_names(self._outputs)
                )
        return names

    def _is_as_compiled(self, feeds: Mapping[str, Array]) -> bool:
        """Whether the feeds need neither conversion nor explanation. Small models take as long."""
        if len(feeds) != len(self._compiled):
            return False
        for name, dtype, shape in self._compiled:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape:
                return False
        return True

    def _converted(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for anything that can be made arrays, of any batch."""
        batch = self._check(feeds)
        if batch != 1 and self.manifest.batch is not None:
            return self._loop(feeds, batch)
        outcome = self._runner.run({name: np.asarray(feeds[name]) for name in feeds})
        self.last_stats = outcome.stats
        return outcome.outputs

    def observe(self, feeds: Mapping[str, Array], observer: Observer) -> dict[str, Array]:
        """One inference at the compiled batch, handing every tensor in memory to `observer`."""
        self._check(feeds)
        outcome = self._runner.run({name: np.asarray(feeds[name]) for name in feeds}, observer)
        self.last_stats = outcome.stats
        return outcome.outputs

    def _loop(self, feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
        parts: dict[str, list[Array]] = {port.name: [] for port in self.manifest.outputs}
        for index in range(batch):
            one = {name: np.asarray(array)[index : index + 1] for name, array in feeds.items()}
            outcome = self._runner.run(one)
            self.last_stats = outcome.stats
            for name, array in outcome.outputs.items():
                parts[name].append(array)
        empty = {port.name: _empty(port) for port in self.manifest.outputs}
        return {
            name: np.concatenate(arrays) if arrays else empty[name]
            for name, arrays in parts.items()
        }

    def _check(self, feeds: Mapping[str, Array]) -> int:
        """Hold the feeds against the ports; returns the batch size."""
        ports = {port.name: port for port in self.manifest.inputs}
        for name in feeds:
            if name not in ports:
                raise UserError(f"the model has no input {name!r}", remedy=known_names(ports))
        batch: int | None = None
        for name, port in ports.items():
            if name not in feeds:
                raise UserError(f"input {name!r} is missing", remedy=f"it is {_shown(port)}")
            array = np.asarray(feeds[name])
            if array.dtype != DType(port.dtype).numpy:
                raise UserError(
                    f"input {name!r} has dtype {array.dtype}, the model expects {_shown(port)}"
                )
            fixed = 1 if self.manifest.batch else 0
            if array.ndim != len(port.shape) or array.shape[fixed:] != port.shape[fixed:]:
                raise UserError(
                    f"input {name!r} has shape {list(array.shape)}, the model expects "
                    f"{_shown(port)}" + (" for each item of the batch" if fixed else "")
                )
            if fixed and batch not in (None, array.shape[0]):
                raise UserError(f"input {name!r} has batch {array.shape[0]}, another input {batch}")
            batch = array.shape[0] if fixed else 1
        return 1 if batch is None else batch

    def _describe(self, port: Port) -> NodeArg:
        shape: list[int | str] = list(port.shape)
        if self.manifest.batch is not None and shape:
            shape[0] = self.manifest.batch
        return NodeArg(port.name, shape, f"tensor({_ORT_TYPES.get(port.dtype, port.dtype)})")


def runner_for(artifact: Artifact, threads: int | None = None) -> Runner:
    """The runner of an artifact's kind of machine."""
    kind = artifact.target.backend
    if kind == "cpu":
        from .library import LibraryRunner

        return LibraryRunner.from_artifact(artifact, threads)
    if kind == "riscv_accel":
        from .program import ProgramRunner

        return ProgramRunner.from_artifact(artifact)
    raise UserError(
        f"this mcc cannot run artifacts for backend {kind!r}", remedy="known: cpu, riscv_accel"
    )


def _shown(port: Port) -> str:
    return f"{port.dtype}[{','.join(map(str, port.shape))}]"


def _empty(port: Port) -> Array:
    return np.zeros((0, *port.shape[1:]), DType(port.dtype).numpy)
