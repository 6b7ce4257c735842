"""`mcc compile`: a model to an artifact, or to the text of one of the stages on the way."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from .output import (
    explain_option,
    json_option,
    load_option,
    progress_bar,
    shape_option,
    verbose_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcc.backends import Emitter

    from ..driver import Compilation
    from ..options import Options


def _pair(text: str) -> tuple[float, float]:
    low, comma, high = text.partition(",")
    try:
        if not comma:
            raise ValueError
        return float(low), float(high)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not LOW,HIGH such as 0,255") from None


def parse_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        parts = dims.split("x")
        if not equals or not name or not all(part.isdecimal() for part in parts if dims):
            raise click.BadParameter(f"{text!r} is not NAME=DIMS such as image=1x3x32x32")
        shapes[name] = tuple(int(part) for part in parts if part)
    return shapes


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write the result.  [default: MODEL.mcc in this folder]",
)
@click.option(
    "--target",
    metavar="NAME|FILE",
    default="cpu",
    show_default=True,
    help="A machine: one of `mcc targets`, or a target file.",
)
@click.option(
    "-O",
    "level",
    metavar="0..3",
    type=int,
    default=2,
    show_default=True,
    help="How hard to try.",
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "int8"]),
    help="Of float models.  [default: none for CPUs, int8 for accelerators]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    show_default=True,
    help="Of the operands of products in float models.",
)
@click.option(
    "--weight-bits",
    type=click.Choice(["8", "4"]),
    default="8",
    show_default=True,
    help="Of quantized weights.",
)
@click.option(
    "--mode",
    type=click.Choice(["strict", "portable"]),
    default="strict",
    show_default=True,
    help="Any float32 scales, or powers of two.",
)
@click.option(
    "--calibrate",
    metavar="FILE|FOLDER",
    help="Samples: an .npz, or a folder of .npy files.  [default: synthetic inputs]",
)
@click.option(
    "--method",
    type=click.Choice(["minmax", "percentile", "mse"]),
    default="mse",
    show_default=True,
    help="How calibration chooses ranges.",
)
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="How many of them calibration uses.",
)
@click.option(
    "--input-range",
    metavar="LOW,HIGH",
    help="What synthetic inputs look like.  [default: 0,1]",
)
@shape_option
@click.option(
    "--passes",
    metavar="PIPELINE",
    help='The passes, such as "O2,prune{sparsity=0.5}".  [default: those of -O]',
)
@load_option
@click.option(
    "--io",
    type=click.Choice(["float", "int8"]),
    default="float",
    show_default=True,
    help="Inputs and outputs of the artifact.",
)
@click.option(
    "--tune",
    type=click.Choice(["0", "quick", "full"]),
    default="0",
    show_default=True,
    help="Measure kernels for this CPU before choosing them.",
)
@click.option(
    "--tuning-database",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where measurements are kept.  [default: the user's own]",
)
@click.option(
    "--emit",
    "stage",
    metavar="STAGE",
    help="Stop at this stage and write it; `help` lists the target's.",
)
@click.option("--from", "start", metavar="STAGE", help="The stage that MODEL, a .mir file, is at.")
@click.option("--timing", is_flag=True, help="Show the time of every pass.")
@click.option(
    "--print-after", metavar="PASS", help="Print the module after this pass; `all`: after each."
)
@explain_option
@json_option
@verbose_option
def command(
    model: Path,
    output: Path | None,
    target: str,
    level: int,
    quantize: str | None,
    precision: str,
    weight_bits: str,
    mode: str,
    calibrate: str | None,
    method: str,
    samples: int,
    input_range: str | None,
    shapes: tuple[str, ...],
    passes: str | None,
    plugins: tuple[str, ...],
    io: str,
    tune: str,
    tuning_database: Path | None,
    stage: str | None,
    start: str | None,
    timing: bool,
    print_after: str | None,
    explain: str | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Compile MODEL, an ONNX file (or a .mir file with --from), to an artifact.

    \b
    mcc resnet8.onnx --target riscv-accel -O2 --calibrate cifar10.npz
    mcc resnet8.onnx --quantize int8 --emit onnx -o resnet8_int8.onnx
    """  # noqa: D301 (click wants the backspace itself in front of lines that stay as they are)
    from mcc.passes import pass_named

    from .. import report
    from ..driver import Compilation
    from ..options import options_of

    options = options_of(
        {
            "target": target,
            "level": level,
            "quantize": quantize,
            "precision": precision,
            "weight_bits": int(weight_bits),
            "mode": mode,
            "calibrate": calibrate,
            "method": method,
            "samples": samples,
            "input_range": _pair(input_range) if input_range else None,
            "shapes": parse_shapes(shapes),
            "passes": passes,
            "plugins": plugins,
            "io": io,
            "tune": tune,
            "tuning_database": tuning_database,
            "start": start,
        }
    )
    with progress_bar(quiet=as_json) as progress:
        compilation = Compilation(options, progress)
        path = _output_path(compilation, model, stage, output)
        if print_after:
            compilation.print_after(print_after, click.echo)
        if explain:
            pass_named(explain)
        if stage == "help":
            _list_stages(compilation, as_json)
            return
        if stage is not None and stage != "artifact":
            written = _emit(compilation, model, stage, output)
            record: dict[str, object] = {
                "stage": stage,
                "output": str(output or "-"),
                "files": [str(file) for file in written],
            }
        else:
            artifact = compilation.artifact(model)
            artifact.save(path)
            record = report.artifact_record(artifact, path)
    _show(compilation, record, stage, options, as_json, timing, explain, verbose)


def _output_path(
    compilation: "Compilation", model: Path, stage: str | None, output: Path | None
) -> Path:
    """Where the result goes; what stands against it is said before the work, not after it."""
    from mcc.ir import UserError, check_writable

    path = output or Path(model.stem + ".mcc")
    if stage and not output:
        return path  # to standard output
    in_folder = _is_folder(compilation.emitters().get(stage or ""), path)
    check_writable(path / "file" if in_folder and path.is_dir() else path)
    if output and output.exists() and model.exists() and output.samefile(model):
        raise UserError(
            "the result would take the model's place",
            where=str(output),
            remedy=f"give another name, such as -o {model.stem}.mcc",
        )
    return path


def _list_stages(compilation: "Compilation", as_json: bool) -> None:
    from .output import print_json

    names = compilation.emit_names()
    if as_json:
        print_json({"target": compilation.target.name, "stages": names})
    else:
        click.echo(f"stages of target {compilation.target.name}, in order:")
        for name in names:
            click.echo(f"  {name}")


def _emit(
    compilation: "Compilation", model: Path, stage: str, output: Path | None
) -> "Sequence[Path]":
    """Write one stage: text to a file (weights beside it) or to standard output; which files."""
    from mcc.ir import print_module, save_module

    emitter = compilation.emitters().get(stage)
    if emitter is not None:
        return _emit_files(compilation, model, emitter, output)
    compilation.known_stage(stage, compilation.emit_names())
    for name, module in compilation.walk(model):
        if name != stage:
            continue
        if output is not None:
            return save_module(module, output)
        click.echo(print_module(module).text, nl=False)
        break
    return ()


def _is_folder(emitter: "Emitter | None", output: Path) -> bool:
    """Whether an emitter's files go into a folder: one that is there, or a name without suffix."""
    return emitter is not None and emitter.folder and (output.is_dir() or not output.suffix)


def _emit_files(
    compilation: "Compilation", model: Path, emitter: "Emitter", output: Path | None
) -> "Sequence[Path]":
    """Write what an emitter makes: its first file to `output`, others beside it, or all into it."""
    from mcc.ir import UserError, write_atomically

    if output is None:
        raise UserError(
            f"--emit {emitter.name} needs a file",
            remedy=f"give one with -o model{emitter.suffix}",
        )
    in_folder = _is_folder(emitter, output)
    stem = model.stem if in_folder else output.stem
    files = compilation.emission(model, emitter, stem, in_folder=in_folder)
    if in_folder:
        output.mkdir(exist_ok=True)
    paths = [
        output / f"{stem}{suffix}" if in_folder else output.with_suffix(suffix) for suffix in files
    ]
    if not in_folder:
        paths[0] = output
    if output in paths[1:]:
        raise UserError(
            f"--emit {emitter.name} writes a second file of that name",
            where=str(output),
            remedy=f"give the first one: -o {output.with_suffix(emitter.suffix)}",
        )
    for path, content in zip(paths, files.values(), strict=True):
        write_atomically(path, content)
    return paths


def _show(
    compilation: "Compilation",
    record: dict[str, object],
    stage: str | None,
    options: "Options",
    as_json: bool,
    timing: bool,
    explain: str | None,
    verbose: int,
) -> None:
    from .. import report
    from .output import print_json

    if as_json:
        record["notes"] = compilation.notes
        if timing:
            record["passes"] = report.pass_rows(compilation.runs)
        if explain:
            record["explain"] = report.explanation(compilation.runs, explain)
        if not (stage and record.get("output") == "-"):
            print_json(record)
        return
    for note in compilation.notes:
        click.echo(f"note: {note}", err=True)
    if timing:
        report.print_timing(compilation.runs)
    if explain:
        report.print_explanation(compilation.runs, explain)
    if stage is None or stage == "artifact":
        report.print_summary(record, verbose)
    elif record["output"] != "-":
        click.echo(f"wrote {', '.join(cast('list[str]', record['files']))} (stage {stage})")
