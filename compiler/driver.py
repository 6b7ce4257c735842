"""The compiler on one page: the road from a model to an artifact, stage by stage."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.backends import Progress, Stage, backend_named
from mcc.ir import Module, UserError, known_names, load_module
from mcc.ops import Dequantize, Quantize
from mcc.passes import IntegerEdges, LowerQuantized, Pass, pipeline_for, run_passes
from mcc.runtime import Artifact, Manifest, load_target, module_members

from .calibrate import quantization
from .options import Options
from .ports import input_ports, output_ports
from .versions import versions

if TYPE_CHECKING:
    import onnx

    from mcc.passes import PassRun

Source = "str | Path | bytes | onnx.ModelProto | Module"
Step = tuple[str, Callable[[Module], Module]]


def compile(
    source: "str | Path | bytes | onnx.ModelProto | Module",
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    **keywords: object,
) -> Artifact:
    """Compile a model.

    Args:
        source: An ONNX file, its bytes or its model; or a module, or a `.mir` file, at the stage
            that the option `start` names.
        options: What is asked for; or give the fields of `Options` as keywords, such as
            `target="riscv-accel"`, `calibrate="samples.npz"`.
        progress: Called as `progress(what, done, total)` during long steps.

    Raises:
        UserError: For anything that is wrong with the source or the options.
    """
    chosen = options or Options(**keywords)  # type: ignore[arg-type]
    return Compilation(chosen, progress).artifact(source)


class Compilation:
    """One walk along the road. `runs` and `notes` tell afterwards what was done."""

    def __init__(self, options: Options, progress: Progress | None = None) -> None:
        self.options = options
        self.target = load_target(options.target)
        self.backend = backend_named(self.target.backend)
        self.quantizes = (options.quantize or self.backend.quantize) != "none"
        self.progress: Progress = progress or (lambda what, done, total: None)
        self.runs: list[PassRun] = []
        self.notes: list[str] = []
        self.on_pass: Callable[[Pass, Module], None] | None = None
        """Called after every pass, for `--print-after`."""

    def steps(self) -> tuple[Step, ...]:
        """Every stage behind `imported`, in order: a name, and how it is reached."""
        edges = (IntegerEdges(),) if self.options.io == "int8" else ()
        return (
            # Float rewrites first: what is folded and fused now is neither calibrated nor quantized.
            ("optimized", lambda module: self.run(module, pipeline_for(self.options.passes, self.options.level))),
            # Ranges are collected on exactly the module that is quantized.
            ("quantized", self.quantize),
            # From here on integers; the quantized module stays in the artifact as the reference.
            ("lowered", lambda module: self.run(module, (LowerQuantized(), *edges))),
            *(self._backend_step(stage) for stage in self.backend.stages(self.target)),
        )

    def stage_names(self) -> list[str]:
        return ["imported", *(name for name, _ in self.steps())]

    def walk(self, source: "str | Path | bytes | onnx.ModelProto | Module") -> Iterator[tuple[str, Module]]:
        """Each stage's name and module. A later stage may change the module of an earlier one."""
        start = self.options.start or "imported"
        names = self.stage_names()
        self.known_stage(start)
        module = self.enter(source)
        yield start, module
        for name, step in self.steps()[names.index(start) :]:
            module = step(module)
            yield name, module

    def artifact(self, source: "str | Path | bytes | onnx.ModelProto | Module") -> Artifact:
        """Walk to the end and emit."""
        members: dict[str, bytes] = {}
        manifest: Manifest | None = None
        module: Module | None = None
        for name, module in self.walk(source):
            if name in ("imported", "optimized", "quantized"):
                # The last of them is the reference that a check holds the program against.
                members = module_members("module", module)
                reference = module
            if name == "lowered":
                members |= module_members("lowered", module)
                manifest = self.manifest(module)
        assert module is not None
        if manifest is None:
            raise UserError(
                f"an artifact needs the reference module; start at `lowered` or before, not at "
                f"{self.options.start!r}",
                remedy="use --emit to continue from a later stage",
            )
        del reference
        members |= self.backend.emit(module, self.target, self.progress)
        return Artifact(manifest, members)

    def enter(self, source: "str | Path | bytes | onnx.ModelProto | Module") -> Module:
        """The module to start from."""
        if isinstance(source, Module):
            return source
        if isinstance(source, str | Path) and Path(source).suffix == ".mir":
            return load_module(source)
        if self.options.start not in (None, "imported"):
            raise UserError(
                f"--from {self.options.start} needs a .mir file",
                where=str(source) if isinstance(source, str | Path) else "",
                remedy=f"write one with --emit {self.options.start} -o model.mir",
            )
        from mcc.frontend import load

        return load(source, shapes=self.options.shapes)

    def quantize(self, module: Module) -> Module:
        """To the QDQ form, unless the model came in it or floats are wanted."""
        if not self.quantizes:
            return module
        if any(isinstance(op, Quantize | Dequantize) for op in module.ops()):
            self.notes.append("the model is quantized already; its own scales are used")
            return module
        passes, notes = quantization(module, self.options, self.target, self.progress)
        self.notes.extend(notes)
        return self.run(module, passes)

    def run(self, module: Module, passes: tuple[Pass, ...]) -> Module:
        """Run passes, keeping the record of each."""
        return run_passes(module, passes, record=self.runs.append, after=self.on_pass)

    def known_stage(self, name: str) -> None:
        """Refuse a stage that the target does not have."""
        names = self.stage_names()
        if name not in names:
            raise UserError(
                f"target {self.target.name} has no stage {name!r}", remedy=known_names(names)
            )

    def manifest(self, module: Module) -> Manifest:
        """What the artifact says of itself; `module` is the lowered one."""
        return Manifest(
            model=module.name,
            target=self.target.to_dict(),
            options=self.options.spelled(),
            versions=versions(),
            inputs=input_ports(module),
            outputs=output_ports(module),
            batch=module.meta.get("batch"),
        )

    def _backend_step(self, stage: Stage) -> Step:
        return stage.name, lambda module: self.run(module, stage.passes)


__all__ = ["Compilation", "Mapping", "compile"]
