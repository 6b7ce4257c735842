"""The compiler on one page: the road from a model to an artifact, stage by stage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.backends import Emission, Emitter, Stage, Tuning, backend_named, register_ops
from mcc.ir import (
    Module,
    Progress,
    UserError,
    Weights,
    load_module,
    no_progress,
    parse,
    print_module,
    weights_to_bytes,
)
from mcc.ops import Dequantize, Quantize
from mcc.passes import (
    Bf16,
    Cse,
    Dce,
    Hook,
    IntegerEdges,
    LowerQuantized,
    Pass,
    PassRun,
    QuantizePass,
    RecordStatistics,
    discover,
    load_plugin,
    pass_named,
    pipeline_for,
    print_after,
    run_passes,
    scheme_for,
)
from mcc.runtime import WEIGHTS, Artifact, Manifest, load_target

from .export import ONNX
from .options import Options, options_of
from .ports import input_ports, output_ports
from .versions import versions

if TYPE_CHECKING:
    import onnx

    Source = str | Path | bytes | onnx.ModelProto | Module

Step = tuple[str, Callable[[Module], Module]]


def compile(
    source: "Source",
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
        **keywords: Fields of `Options`.

    Raises:
        UserError: For anything that is wrong with the source or the options.
    """
    chosen = options or options_of(keywords)
    return Compilation(chosen, progress).artifact(source)


class Compilation:
    """One walk along the road. `runs` and `notes` tell afterwards what was done."""

    def __init__(self, options: Options, progress: Progress | None = None) -> None:
        self.options = options
        self.target = load_target(options.target)
        self.backend = backend_named(self.target.backend)
        self.quantizes = (options.quantize or self.backend.quantize) != "none"
        self.progress: Progress = progress or no_progress
        self.runs: list[PassRun] = []
        self.notes: list[str] = []
        self.model = ""
        """What the source is called, where it has a file name."""
        self.after_pass: Hook | None = None
        """Called with every pass and the module that it left."""
        self.tuning = Tuning(options.tune, options.tuning_database)
        if options.tune != "0" and not self.backend.tunes:
            raise UserError(
                f"there is nothing to tune for {self.target.name}",
                remedy="--tune is for CPUs; leave it out",
            )
        register_ops()
        discover()
        for plugin in options.plugins:
            load_plugin(plugin)

    def steps(self) -> tuple[Step, ...]:
        """Every stage behind `imported`, in order: a name, and how it is reached."""
        options = self.options
        edges = (IntegerEdges(),) if options.io == "int8" else ()
        floats = pipeline_for(options.passes, options.level)
        if options.precision == "bf16":
            # Last: what fuses into weights is rounded once. Readers of one value share its cast.
            floats = (*floats, Bf16(), Cse(), Dce())
        if self.quantizes and options.calibrate is None:
            # First: folding a batch normalization loses what its statistics say of ranges.
            floats = (RecordStatistics(), *floats)
        return (
            # Float rewrites first: what they fold is neither calibrated nor quantized.
            ("optimized", lambda module: self.run(self.only_floats(module), floats)),
            # Ranges are collected on exactly the module that is quantized.
            ("quantized", self.quantize),
            # From here on integers; the quantized module stays in the artifact as the reference.
            ("lowered", lambda module: self.run(module, (LowerQuantized(), *edges))),
            *(self._backend_step(stage) for stage in self.backend.stages(self.target)),
        )

    def stage_names(self) -> list[str]:
        return ["imported", *(name for name, _ in self.steps())]

    def walk(self, source: "Source") -> Iterator[tuple[str, Module]]:
        """Each stage's name and module. A later stage may change the module of an earlier one."""
        start = self.options.start or "imported"
        names = self.stage_names()
        self.known_stage(start)
        module = self.enter(source)
        yield start, module
        for name, step in self.steps()[names.index(start) :]:
            module = step(module)
            yield name, module

    def artifact(self, source: "Source") -> Artifact:
        """Walk to the end and emit."""
        members: dict[str, bytes] = {}
        weights = Weights()
        manifest: Manifest | None = None
        last: Module | None = None
        kept = {"quantized": "module", "lowered": "lowered"}
        for name, module in self.walk(source):
            if name in kept:
                # What a check holds the program against, and what is exported.
                members[f"{kept[name]}.mir"] = print_module(module, weights).text.encode()
            manifest = self.manifest(module) if name == "lowered" else manifest
            last = module
        assert last is not None, "a walk has at least its first stage"
        emitted = self.backend.emit(last, self.target, self.progress, self.tuning)
        for name, item in emitted.items():
            if isinstance(item, Module):
                members[f"{name}.mir"] = print_module(item, weights).text.encode()
            else:
                members[name] = item
        if weights.arrays:
            members[WEIGHTS] = weights_to_bytes(weights.arrays)
        # A start behind `lowered` gives an artifact that runs, with nothing to verify against.
        return Artifact(manifest or self.manifest(last), members)

    def emit_names(self) -> list[str]:
        """All that `--emit` takes, in order."""
        return [*self.stage_names(), *self.emitters(), "artifact"]

    def emitters(self) -> dict[str, Emitter]:
        """What `--emit` offers besides stages and the artifact, by name."""
        return {emitter.name: emitter for emitter in (ONNX, *self.backend.emitters)}

    def emission(
        self, source: "Source", emitter: Emitter, stem: str, *, in_folder: bool = False
    ) -> Mapping[str, bytes]:
        """Walk to an emitter's stage and emit: files by suffix, to be called `stem`."""
        from .samples import example_feeds

        wanted = emitter.stage or self.stage_names()[-1]
        self.known_stage(wanted)
        reference: Module | None = None
        manifest: Manifest | None = None
        for name, module in self.walk(source):
            if name == "lowered" and wanted != name:
                # Later stages may change this module.
                printed = print_module(module)
                reference = parse(printed.text, printed.weights)
                manifest = self.manifest(module)
            if name == wanted:
                samples = partial(
                    example_feeds, manifest or self.manifest(module), self.options.calibrate
                )
                title = self.model or module.name
                made = Emission(
                    module=module,
                    reference=reference,
                    target=self.target,
                    name=title,
                    stem=stem,
                    in_folder=in_folder,
                    samples=samples,
                    tuning=self.tuning,
                    progress=self.progress,
                )
                return emitter.emit(made)
        raise UserError(
            f"--emit {emitter.name} needs stage {wanted!r}, which lies before --from "
            f"{self.options.start}"
        )

    def enter(self, source: "Source") -> Module:
        """The module to start from."""
        if isinstance(source, str | Path):
            self.model = Path(source).stem
        if isinstance(source, Module):
            return source
        if isinstance(source, str | Path) and Path(source).suffix == ".mcc":
            raise UserError(
                "the model is already compiled",
                where=str(source),
                remedy="`mcc run` runs it, `mcc info` shows it; to compile, give the .onnx file",
            )
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

    def only_floats(self, module: Module) -> Module:
        """The module; `--precision bf16` is not for quantized ones."""
        if self.options.precision == "float32":
            return module
        if self.quantizes or any(isinstance(op, Quantize | Dequantize) for op in module.ops()):
            raise UserError(
                "--precision bf16 is for float models; this one computes in 8-bit integers",
                remedy="leave it out"
                + (", or give --quantize none" if self.options.quantize else ""),
            )
        return module

    def quantize(self, module: Module) -> Module:
        """To the QDQ form, unless the model came in it or floats are wanted."""
        if not self.quantizes:
            asked = self.options.calibrate is not None or self.options.io == "int8"
            if asked or self.options.weight_bits != 8:
                self.notes.append(
                    f"the model stays float on {self.target.name}: --calibrate, --io and "
                    "--weight-bits change nothing without --quantize int8"
                )
            return module
        if any(isinstance(op, Quantize | Dequantize) for op in module.ops()):
            self.notes.append("the model is quantized already; its own scales are used")
            return module
        options = self.options
        low, high = options.input_range or (0.0, 1.0)
        mode = options.mode
        if not self.target.host.fpu and mode != "portable":
            mode = "portable"
            self.notes.append(
                f"the host of {self.target.name} has no FPU: scales are powers of two "
                "(mode portable)"
            )
        scheme = scheme_for(self.target.extensions, self.target.backend, mode)
        scheme = replace(scheme, weight_bits=options.weight_bits)
        if options.calibrate is None:
            # Means of made-up inputs say nothing about the biases of real ones.
            scheme = replace(scheme, correct_bias=False)
            self.notes.append(
                f"calibrated on synthetic inputs between {low:g} and {high:g}; for accuracy give "
                "real samples with --calibrate"
            )
        quantize = QuantizePass(
            samples=str(options.calibrate or ""),
            method=options.method,
            limit=options.samples,
            input_low=low,
            input_high=high,
            **asdict(scheme),
        )
        return self.run(module, (quantize,))

    def run(self, module: Module, passes: tuple[Pass, ...]) -> Module:
        """Run passes, keeping the record of each."""
        return run_passes(
            module,
            passes,
            record=self.runs.append,
            after=self.after_pass,
            progress=self.progress,
        )

    def print_after(self, name: str, write: Callable[[str], object]) -> None:
        """Write the module after every pass of that name (`all`: of any)."""
        if name != "all":
            pass_named(name)
        self.after_pass = print_after(["*" if name == "all" else name], write)

    def known_stage(self, name: str, known: Sequence[str] = ()) -> None:
        """Refuse a name that is not among `known`: the target's stages, where none are given."""
        known = known or self.stage_names()
        if name not in known:
            raise UserError(
                f"target {self.target.name} has no stage {name!r}",
                remedy=f"known, in order: {', '.join(known)}",
            )

    def manifest(self, module: Module) -> Manifest:
        """What the artifact says of itself; `module` is the lowered one."""
        return Manifest(
            model=self.model or module.name,
            target=self.target.to_dict(),
            options=self.options.spelled(),
            versions=versions(),
            inputs=input_ports(module),
            outputs=output_ports(module),
            batch=module.meta.get("batch_symbol"),
        )

    def _backend_step(self, stage: Stage) -> Step:
        return stage.name, lambda module: self.run(module, stage.passes)
