"""Checks an artifact: machine against evaluator, evaluator against onnxruntime, and fidelity."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from mcc.ir import Array, DType, Module, Progress, UserError, Value, evaluate, no_progress
from mcc.ops import Dequantize, Quantize
from mcc.runtime import Artifact, Session

from .judge import Judge
from .samples import real_numbers

FLOAT_TOLERANCE = 1e-5
"""Relative, of the largest element: for float tails, which no promise holds to the bit."""
BF16_TOLERANCE = 2.0**-7
"""Where products round their operands to bfloat16: last bits decide over the next rounding."""
INTEGER_CONVOLUTIONS = ", int8 convolutions allowed"
LEVELS = (f"ORT_ENABLE_ALL{INTEGER_CONVOLUTIONS}", "ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
"""How onnxruntime is asked: all fusions with integer kernels, its default on x86, and none."""
WAYS = {"each layer on the same inputs": True, "the whole model": False}
"""In the whole model a difference spreads to what comes after it."""


@dataclass(frozen=True)
class TensorCheck:
    """One tensor over all samples, compared by two ways of computing it."""

    name: str
    dtype: str
    elements: int
    differing: int
    largest: float
    """The largest absolute difference."""

    def __add__(self, other: "TensorCheck") -> "TensorCheck":
        return TensorCheck(
            self.name,
            self.dtype,
            self.elements + other.elements,
            self.differing + other.differing,
            max(self.largest, other.largest),
        )


@dataclass(frozen=True)
class Fidelity:
    """Outputs against the float original."""

    name: str
    sqnr_db: float
    """Signal to quantization noise, in decibels; inf where nothing differs."""
    largest: float
    same_argmax: int
    rows: int


@dataclass(frozen=True)
class Verification:
    """Everything that was compared."""

    samples: int
    machine: tuple[TensorCheck, ...]
    """The machine (simulator or library) against the evaluator."""
    fused: tuple[str, ...]
    """Integer tensors that the machine keeps inside a fused step: nothing to compare."""
    onnxruntime: Mapping[str, tuple[TensorCheck, ...]] = field(
        default_factory=dict[str, tuple[TensorCheck, ...]]
    )
    """By way and optimisation level: the evaluator against onnxruntime on the exported model."""
    against: tuple[Fidelity, ...] = ()
    tolerance: float = FLOAT_TOLERANCE
    """How far floats of the machine may be off, by the largest of their tensor."""

    @property
    def passed(self) -> bool:
        """No integer element differs between machine and evaluator, and floats agree."""
        return all(_accepted(check) for check in self.machine)

    def to_dict(self) -> dict[str, object]:
        record = asdict(self)
        record["passed"] = self.passed
        return record


def _accepted(check: TensorCheck) -> bool:
    return check.differing == 0


def verify(
    artifact: Artifact,
    samples: Sequence[Mapping[str, Array]],
    *,
    against: str | Path | None = None,
    with_onnxruntime: bool = True,
    progress: Progress = no_progress,
) -> Verification:
    """Compare an artifact tensor by tensor on samples of batch 1.

    Args:
        artifact: What to check.
        samples: Feeds for the artifact's inputs.
        against: The float ONNX model that it was made from.
        with_onnxruntime: Whether to export the reference module and run onnxruntime on it.
        progress: Told of every sample on the machine, and of every setting of onnxruntime.

    Raises:
        UserError: If onnxruntime is wanted and not installed, or a sample does not fit.
    """
    lowered = artifact.module("lowered")
    session = Session(artifact)
    machine: dict[str, TensorCheck] = {}
    short = any(value.tensor.dtype is DType.BF16 for value in lowered.values())
    tolerance = BF16_TOLERANCE if short else FLOAT_TOLERANCE
    integer = {value.name for value in lowered.values() if _is_integer(value)}
    references: list[dict[str, Array]] = []
    for number, feeds in enumerate(samples, 1):
        reference = _observed(lowered, feeds)
        found: dict[str, Array] = {}
        found |= session.observe(feeds, found.__setitem__)
        _add(machine, _compare(reference, found, tolerance))
        references.append(reference)
        progress("comparing with the evaluator", number, len(samples))
    judged: dict[str, tuple[TensorCheck, ...]] = {}
    if with_onnxruntime:
        reference_module = artifact.module("module")
        outside = [_real_feeds(artifact, feeds) for feeds in samples]
        inside = [
            _without_edges(reference_module, artifact, *pair)
            for pair in zip(samples, references, strict=True)
        ]
        for level in LEVELS:
            for way, by_layer in WAYS.items():
                judged[f"{way}, {level}"] = _judge(
                    reference_module, outside, inside, level, by_layer=by_layer
                )
                progress("comparing with onnxruntime", len(judged), len(LEVELS) * len(WAYS))
    fidelity = _fidelity(artifact, samples, references, against) if against else ()
    fused = tuple(sorted(integer - machine.keys()))
    return Verification(len(samples), tuple(machine.values()), fused, judged, fidelity, tolerance)


def _is_integer(value: Value) -> bool:
    return (
        bool(value.name)
        and value.tensor.dtype.is_integer
        and value.op is not None
        and bool(value.op.operands)
    )


def _observed(module: Module, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every named tensor of an evaluation that is computed, and the outputs by their names."""
    found: dict[str, Array] = {}

    def keep(value: Value, array: Array) -> None:
        if value.name and value.op is not None and value.op.operands:
            found[value.name] = array

    outputs = evaluate(module, feeds, keep)
    return found | outputs


def _compare(
    reference: Mapping[str, Array], found: Mapping[str, Array], tolerance: float = FLOAT_TOLERANCE
) -> Iterator[TensorCheck]:
    for name, expected in reference.items():
        actual = found.get(name)
        if actual is None:
            continue
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            size = expected.size
            yield TensorCheck(name, str(expected.dtype), size, size, float("inf"))
            continue
        yield compare(name, expected, actual, tolerance)


def compare(
    name: str, expected: Array, actual: Array, tolerance: float = FLOAT_TOLERANCE
) -> TensorCheck:
    """Count differing elements: any bit for integers, beyond the tolerance for floats."""
    if expected.dtype.kind in "iub":
        gap = np.abs(expected.astype(np.int64) - actual.astype(np.int64))
        differing = int(np.count_nonzero(gap))
    else:
        wide = expected.astype(np.float64)
        other = actual.astype(np.float64)
        same = (wide == other) | (np.isnan(wide) & np.isnan(other))
        with np.errstate(invalid="ignore"):  # inf - inf
            gap = np.where(same, 0.0, np.abs(wide - other))
        gap = np.where(np.isnan(gap), np.inf, gap)
        finite = np.abs(wide[np.isfinite(wide)])
        scale = float(finite.max()) if finite.size else 1.0
        differing = int(np.count_nonzero(gap > tolerance * scale))
    largest = float(gap.max()) if gap.size else 0.0
    return TensorCheck(name, str(expected.dtype), expected.size, differing, largest)


def _add(into: dict[str, TensorCheck], checks: Iterable[TensorCheck]) -> None:
    for check in checks:
        into[check.name] = into[check.name] + check if check.name in into else check


def _real_feeds(artifact: Artifact, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What the feeds of quantized inputs stand for: the reference module's inputs are real."""
    ports = {port.name: port for port in artifact.manifest.inputs}
    return {name: real_numbers(array, ports[name]) for name, array in feeds.items()}


def _without_edges(
    module: Module, artifact: Artifact, feeds: Mapping[str, Array], found: Mapping[str, Array]
) -> dict[str, Array]:
    """An evaluation's tensors under the reference module's names.

    With `--io int8` the artifact's inputs and outputs are what that module calls the quantized
    tensors beside its real ones.
    """
    manifest = artifact.manifest
    renamed = dict(found)
    quantized = {port.name for port in manifest.inputs if port.scale is not None}
    for value in module.inputs:
        for op in value.uses if value.name in quantized else ():
            if isinstance(op, Quantize):
                renamed[op.result.name] = feeds[value.name]
    ports = {port.name: port for port in manifest.outputs}
    for name, value in zip(module.output_names, module.outputs, strict=True):
        if ports[name].scale is not None and isinstance(value.op, Dequantize):
            renamed[value.op.x.name] = found[name]
            renamed[name] = real_numbers(found[name], ports[name])
    return renamed


def _judge(
    module: Module,
    samples: Sequence[Mapping[str, Array]],
    references: Sequence[Mapping[str, Array]],
    level: str,
    *,
    by_layer: bool,
) -> tuple[TensorCheck, ...]:
    """Onnxruntime on the exported reference module, its quantized tensors and outputs."""
    from mcc.backends.onnx import export

    from .judge import GIVEN, cut_into_layers, onnxruntime_session

    quantized = [
        op.result.name for op in module.ops() if isinstance(op, Quantize) and op.result.name
    ]
    names = [*dict.fromkeys([*module.output_names, *quantized])]
    exported = export(module)
    session = onnxruntime_session(
        cut_into_layers(exported) if by_layer else exported,
        level.removesuffix(INTEGER_CONVOLUTIONS),
        integer_convolutions=level.endswith(INTEGER_CONVOLUTIONS),
        extra_outputs=names,
    )
    available = {output.name for output in session.get_outputs()}
    wanted = [name for name in names if name in available]
    taken = {taken.name for taken in session.get_inputs()}
    checks: dict[str, TensorCheck] = {}
    for feeds, reference in zip(samples, references, strict=True):
        given = {name + GIVEN: array for name, array in reference.items() if name + GIVEN in taken}
        found = dict(zip(wanted, session.run(wanted, {**feeds, **given}), strict=True))
        _add(checks, _compare(reference, found))
    return tuple(checks.values())


def _fidelity(
    artifact: Artifact,
    samples: Sequence[Mapping[str, Array]],
    references: Sequence[Mapping[str, Array]],
    against: str | Path,
) -> tuple[Fidelity, ...]:
    """The artifact's outputs against onnxruntime on the float original."""
    from .judge import onnxruntime_session

    session = onnxruntime_session(Path(against), "ORT_ENABLE_ALL")
    names = [port.name for port in artifact.manifest.outputs]
    _same_ports(artifact, session, str(against))
    mine: dict[str, list[Array]] = {name: [] for name in names}
    theirs: dict[str, list[Array]] = {name: [] for name in names}
    ports = {port.name: port for port in artifact.manifest.outputs}
    for feeds, reference in zip(samples, references, strict=True):
        for name, array in zip(
            names, session.run(names, _real_feeds(artifact, feeds)), strict=True
        ):
            if array.shape != reference[name].shape:
                found = f"output {name} of shape {list(array.shape)}"
                raise _not_the_original(artifact, str(against), found)
            theirs[name].append(np.asarray(array, np.float64).ravel())
            mine[name].append(real_numbers(reference[name], ports[name]).astype(np.float64).ravel())
    return tuple(fidelity(name, np.stack(theirs[name]), np.stack(mine[name])) for name in names)


def _same_ports(artifact: Artifact, session: Judge, where: str) -> None:
    """Refuse a model with other inputs or without the artifact's outputs."""
    ours = {port.name: port for port in artifact.manifest.inputs}
    theirs = {taken.name: taken for taken in session.get_inputs()}
    outputs = {output.name for output in session.get_outputs()}
    missing = [port.name for port in artifact.manifest.outputs if port.name not in outputs]
    fits = ours.keys() == theirs.keys() and all(
        len(port.shape) == len(theirs[name].shape)
        and all(
            size == dim or not isinstance(dim, int)
            for size, dim in zip(port.shape, theirs[name].shape, strict=True)
        )
        for name, port in ours.items()
    )
    if missing or not fits:
        found = f"inputs {', '.join(sorted(theirs))}, outputs {', '.join(sorted(outputs))}"
        raise _not_the_original(artifact, where, found)


def _not_the_original(artifact: Artifact, where: str, found: str) -> UserError:
    return UserError(
        f"it is not the model that the artifact was compiled from: it has {found}",
        where=where,
        remedy=f"give the float original of {artifact.manifest.model!r}",
    )


def fidelity(name: str, expected: Array, actual: Array) -> Fidelity:
    """SQNR and agreement of decisions between two arrays [samples, elements]."""
    noise = float(((expected - actual) ** 2).sum())
    signal = float((expected**2).sum())
    sqnr = float("inf") if noise == 0 else 10 * float(np.log10(signal / noise)) if signal else 0.0
    same = int((expected.argmax(1) == actual.argmax(1)).sum()) if expected.shape[1] else 0
    largest = float(np.abs(expected - actual).max(initial=0.0))
    return Fidelity(name, sqnr, largest, same, len(expected))
