"""`mcc run`: an artifact on inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Required, TypedDict

import click

from .output import (
    counted,
    duration,
    input_option,
    json_option,
    print_json,
    progress_bar,
    threads_option,
    verbose_option,
)

if TYPE_CHECKING:
    from mcc.ir import Array
    from mcc.runtime import Session

SHOWN = 10
"""Samples whose predictions are listed without -v."""


@click.command("run")
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@input_option
@click.option("--random", "synthetic", is_flag=True, help="Run on one synthetic input.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    help="Run at most this many samples.  [default: all]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE.npz",
    type=click.Path(path_type=Path),
    help="Where to write the outputs.",
)
@threads_option
@click.option(
    "--elf",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Run this RISC-V program instead of ARTIFACT.",
)
@click.option(
    "--target",
    metavar="NAME|FILE",
    help="The machine that runs --elf.  [default: the one it was built for]",
)
@json_option
@verbose_option
def command(
    artifact: Path | None,
    source: str | None,
    output: Path | None,
    limit: int | None,
    threads: int | None,
    synthetic: bool,
    elf: Path | None,
    target: str | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Run ARTIFACT, a .mcc file, on the samples of an .npz (or of a folder of .npy files).

    Arrays are taken by the names of the model's inputs, the first axis counting samples. An array
    called `label`, `labels` or `y` beside them is compared with the largest output.

    With --elf: run a program made by `mcc MODEL --emit elf` on an emulated core with the simulated
    accelerator; it brings its own inputs.
    """
    from mcc.ir import UserError, check_writable
    from mcc.runtime import Session

    from ..samples import labels_in, random_samples, read_samples

    if elf is not None and artifact is None:
        from .elf import run_program

        of_artifacts = {
            "--input": source,
            "--random": synthetic,
            "--limit": limit,
            "--output": output,
            "--threads": threads,
        }
        for option, given in of_artifacts.items():
            if given:
                raise UserError(
                    f"{option} is for artifacts, and a program brings its own inputs",
                    remedy="leave it out, or run the .mcc file",
                )
        run_program(elf, target, as_json=as_json)
        return
    if artifact is None or elf is not None:
        raise UserError("one program is needed", remedy="give a .mcc file, or --elf program.elf")
    if target is not None:
        raise UserError(
            "--target is for --elf: an artifact runs on the target that it was compiled for",
            remedy=f"leave it out, or compile with --target {target}",
        )
    if source is not None and synthetic:
        raise UserError("--input and --random exclude each other", remedy="leave one out")
    if output is not None:
        check_writable(output)  # before the work, not after it
    session = Session(artifact, threads=threads)
    if threads is not None and session.artifact.target.backend != "cpu":
        raise UserError(
            "--threads is for CPUs, and this artifact is for an accelerator",
            where=str(artifact),
            remedy="leave it out",
        )
    labels: list[int] | None = None
    if source is not None:
        samples = read_samples(source, session.manifest, limit)
        labels, note = labels_in(source, len(samples))
        if note:
            click.echo(f"note: {source}: {note}", err=True)
    elif synthetic:
        samples = random_samples(session.manifest, 1)
    else:
        raise UserError(
            "no inputs are given",
            remedy="give --input samples.npz, or --random for a synthetic one",
        )
    outputs: list[list[Array]] = []
    cycles: list[int] = []
    with progress_bar(quiet=as_json) as progress:
        for index, feeds in enumerate(samples):
            outputs.append(session.run(None, feeds))
            cycles.append(session.last_stats.cycles)
            progress("running", index + 1, len(samples))
    record = _record(session, outputs, cycles, labels)
    if output is not None:
        _write(output, session, outputs)
        record["written"] = str(output)
    if as_json:
        print_json(record)
    else:
        _print(record, verbose)


class Prediction(TypedDict):
    """The largest output of one sample."""

    index: int
    value: float


class RunRecord(TypedDict, total=False):
    """What a run gave, as data; the later keys only where they make sense."""

    model: Required[str]
    target: Required[str]
    samples: Required[int]
    outputs: dict[str, dict[str, object]]
    predictions: list[Prediction]
    values: list[list[float]]
    labels: list[int]
    right: int
    accuracy: float
    cycles: int
    milliseconds: float
    written: str


def _record(
    session: "Session",
    outputs: "list[list[Array]]",
    cycles: list[int],
    labels: list[int] | None,
) -> RunRecord:
    names = [port.name for port in session.get_outputs()]
    first = [arrays[0].ravel() for arrays in outputs]
    decides = all(array.size >= 2 for array in first)
    record: RunRecord = {
        "model": session.manifest.model,
        "target": session.artifact.target.name,
        "samples": len(outputs),
        "outputs": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape)}
            for name, array in zip(names, outputs[0] if outputs else (), strict=False)
        },
    }
    if decides and len(names) == 1:
        record["predictions"] = [
            {"index": int(array.argmax()), "value": float(array.max())} for array in first
        ]
    elif outputs:
        record["values"] = [array[:8].tolist() for array in first]
    if labels is not None and decides:
        right = sum(
            int(array.argmax()) == label for array, label in zip(first, labels, strict=True)
        )
        record["labels"] = labels
        record["right"] = right
        record["accuracy"] = right / max(1, len(labels))
    if any(cycles):
        record["cycles"] = cycles[-1]
        if clock := session.artifact.target.host.clock_mhz:
            record["milliseconds"] = cycles[-1] / clock / 1e3
    return record


def _print(record: RunRecord, verbose: int) -> None:
    samples = counted(int(str(record["samples"])), "sample")
    click.echo(f"{record['model']} on {record['target']}: {samples}")
    labels = record.get("labels")
    predictions = record.get("predictions")
    if predictions is not None:
        shown = predictions if verbose else predictions[:SHOWN]
        for index, item in enumerate(shown):
            truth = f", label {labels[index]}" if labels is not None else ""
            click.echo(f"  sample {index}: class {item['index']} ({item['value']:.4g}){truth}")
        if len(shown) < len(predictions):
            click.echo(f"  … {len(predictions) - len(shown)} more (-v shows all)")
    elif (values := record.get("values")) is not None:
        for index, numbers in enumerate(values if verbose else values[:SHOWN]):
            click.echo(f"  sample {index}: {', '.join(f'{number:.5g}' for number in numbers)} …")
    if "right" in record:
        click.echo(f"right: {record['right']} of {record['samples']}")
    if "cycles" in record:
        which = "one inference, its caches cold" if record["samples"] == 1 else "the last inference"
        line = f"simulated: {record['cycles']:,} cycles for {which}"
        if "milliseconds" in record:
            line += f"; {duration(record['milliseconds'])} at the target's clock"
        click.echo(line)
    if "written" in record:
        click.echo(f"wrote {record['written']}")


def _write(path: Path, session: "Session", outputs: "list[list[Array]]") -> None:
    """All outputs, stacked over the samples, under their names."""
    import io

    import numpy as np

    from mcc.ir import write_atomically

    names = [port.name for port in session.get_outputs()]
    stacked = {
        name: np.concatenate([arrays[index] for arrays in outputs])
        if outputs and outputs[0][index].ndim
        else np.stack([arrays[index] for arrays in outputs])
        for index, name in enumerate(names)
    }
    content = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed
    save(content, **stacked)
    write_atomically(path, content.getvalue())
