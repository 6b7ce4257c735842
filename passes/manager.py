"""Runs passes over a module: verification between them, and a record of what each did."""

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mcc.ir import (
    Module,
    Op,
    OpError,
    Progress,
    RewriteReport,
    UserError,
    VerifyError,
    no_progress,
    print_module,
    verify,
)

from .base import Pass


@dataclass(frozen=True, slots=True)
class Declined:
    """One reason why a rule did not fire, and where: what `--explain PASS` prints a line of."""

    rule: str
    op: str
    reason: str
    nodes: tuple[str, ...]
    """ONNX nodes of the ops concerned."""
    count: int


@dataclass(frozen=True, slots=True)
class PassRun:
    """What one pass did to one module."""

    step: Pass
    seconds: float
    ops_before: int
    ops_after: int
    fired: Mapping[str, int]
    """How often each rule fired."""
    declined: tuple[Declined, ...]

    @property
    def rewrites(self) -> int:
        return sum(self.fired.values())


class PassError(Exception):
    """A pass of mcc that fails or leaves a broken module: our bug."""


Hook = Callable[[Pass, Module], None]
"""Called before a pass with the module that it gets, or after it with the module that it left."""


def run_passes(
    module: Module,
    passes: Iterable[Pass],
    *,
    before: Hook | None = None,
    record: Callable[[PassRun], None] | None = None,
    after: Hook | None = None,
    progress: Progress = no_progress,
) -> Module:
    """Run passes in order and return the module that the last one left; `module` itself may change.

    Args:
        module: What to change. It must verify.
        passes: What to run.
        before: Called before each pass.
        record: Called after each pass with its record; `runs.append` collects them.
        after: Called after each pass, when its module has been verified.
        progress: Called as `progress(pass, 0, 0)` before each pass, and as `progress(what, done,
            total)` by passes that take long.

    Raises:
        UserError: When a pass raises one, or when a pass that is not mcc's own fails or breaks the
            module.
        PassError: When a pass of mcc fails or breaks the module.
        VerifyError: When the module is broken before the first pass.
    """
    verify(module)
    done: list[Pass] = []
    for step in passes:
        if before is not None:
            before(step, module)
        run, module = _run_one(module, step, done, progress)
        done.append(step)
        if record is not None:
            record(run)
        if after is not None:
            after(step, module)
    return module


def print_after(names: Iterable[str], write: Callable[[str], object]) -> Hook:
    """A hook for `after` that writes the module after passes of these names (`*`: of any)."""
    wanted = set(names)

    def hook(step: Pass, module: Module) -> None:
        if step.name in wanted or "*" in wanted:
            write(f"// after {step}\n{print_module(module).text}")

    return hook


def _run_one(
    module: Module, step: Pass, done: Sequence[Pass], progress: Progress
) -> tuple[PassRun, Module]:
    ops_before = _count(module)
    progress(step.name, 0, 0)
    report = RewriteReport(progress=progress)
    started = time.perf_counter()
    try:
        module = step.run(module, report)
        verify(module)
    except UserError:
        raise
    except Exception as error:
        raise _blamed(step, done, error) from error
    seconds = time.perf_counter() - started
    run = PassRun(
        step,
        seconds,
        ops_before,
        _count(module),
        MappingProxyType(dict(report.fired)),
        _grouped(report.declined),
    )
    return run, module


def _blamed(step: Pass, done: Sequence[Pass], error: Exception) -> Exception:
    """The failure with the pass and what ran before it: `UserError` unless the pass is mcc's."""
    history = ", ".join(str(item) for item in done) or "nothing"
    if isinstance(error, VerifyError):
        what = f"pass {step} leaves a broken module: {error}"
    elif isinstance(error, OpError):
        what = f"pass {step} builds a wrong op: {error}"
    else:
        what = f"pass {step} fails: {type(error).__name__}: {error}"
    owner = type(step).__module__
    if owner == "mcc" or owner.startswith("mcc."):
        return PassError(f"{what}\n(ran before it: {history})")
    return UserError(what, where=_place(step, error), remedy=f"ran before it: {history}")


def _place(step: Pass, error: Exception) -> str:
    """The line of the plugin that raised, else the plugin's file."""
    import inspect

    try:
        file = inspect.getfile(type(step))
    except (OSError, TypeError):
        return type(step).__module__
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"{file}:{lines[-1]}" if lines else file


def _count(module: Module) -> int:
    return sum(1 for _ in module.ops())


def _grouped(declined: Sequence[tuple[str, Op, str]]) -> tuple[Declined, ...]:
    """One record for each rule, kind of op and reason; ops rewritten after all are left out."""
    latest = {(rule, op): reason for rule, op, reason in declined if op.region is not None}
    groups: dict[tuple[str, str, str], list[Op]] = {}
    for (rule, op), reason in latest.items():
        groups.setdefault((rule, op.op_name, reason), []).append(op)
    return tuple(
        Declined(
            rule, name, reason, tuple(dict.fromkeys(n for op in ops for n in op.nodes)), len(ops)
        )
        for (rule, name, reason), ops in groups.items()
    )
