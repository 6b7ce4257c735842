"""`mcc verify`: an artifact held against the evaluator, onnxruntime and the float original."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import (
    counted,
    input_option,
    json_option,
    print_json,
    print_table,
    progress_bar,
    verbose_option,
)

if TYPE_CHECKING:
    from ..verify import TensorCheck, Verification


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path))
@input_option
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="How many of the inputs, or of synthetic ones where none are given.",
)
@click.option(
    "--against",
    metavar="MODEL.onnx",
    type=click.Path(path_type=Path),
    help="The float original, to compare outputs with.",
)
@click.option("--no-onnxruntime", is_flag=True, help="Leave onnxruntime out.")
@json_option
@verbose_option
def command(
    artifact: Path,
    source: str | None,
    samples: int,
    against: Path | None,
    no_onnxruntime: bool,
    as_json: bool,
    verbose: int,
) -> int:
    """Check ARTIFACT tensor by tensor; exit status 1 if the machine differs from the evaluator.

    Compared are the machine (the simulator, or the compiled library) with the IR evaluator in every
    integer tensor, the evaluator with onnxruntime on the exported model, and with --against the
    outputs with the float original.
    """
    from mcc.runtime import load

    from ..samples import random_samples, read_samples
    from ..verify import verify

    loaded = load(artifact)
    feeds = (
        read_samples(source, loaded.manifest, samples)
        if source
        else random_samples(loaded.manifest, samples)
    )
    with progress_bar(quiet=as_json) as progress:
        found = verify(
            loaded,
            feeds,
            against=against,
            with_onnxruntime=not no_onnxruntime,
            progress=progress,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, loaded.target.backend, verbose)
    return 0 if found.passed else 1


def _print(found: "Verification", backend: str, verbose: int) -> None:
    from ..verify import FLOAT_TOLERANCE

    machine = "library" if backend == "cpu" else "simulator"
    click.echo(f"{machine} against evaluator: {_counted(found.machine, found.tolerance)}")
    _print_checks(found.machine, everything=verbose > 0)
    if found.fused:
        names = f": {', '.join(found.fused)}" if verbose else " (-v names them)"
        click.echo(f"  {len(found.fused)} stay inside a fused step, nothing to compare{names}")
    if found.onnxruntime:
        click.echo("evaluator against onnxruntime on the exported model")
    for way, checks in found.onnxruntime.items():
        click.echo(f"  {way}: {_counted(checks, FLOAT_TOLERANCE)}")
        if verbose:
            _print_checks(checks, everything=verbose > 1)
    if found.against:
        click.echo("outputs against the float original")
        for item in found.against:
            click.echo(
                f"  {item.name}: SQNR {item.sqnr_db:.1f} dB, largest difference "
                f"{item.largest:.4g}, same largest output in {item.same_argmax} of {item.rows}"
            )
    verdict = "passed" if found.passed else "FAILED"
    click.echo(f"{verdict}: {counted(found.samples, 'input')}")


def _counted(checks: "tuple[TensorCheck, ...]", tolerance: float) -> str:
    """How many integer elements differ, and by how much; floats where there are no integers."""
    integers = [check for check in checks if not check.dtype.startswith("float")]
    if not integers:
        beyond = sum(check.differing for check in checks)
        return (
            f"{beyond:,} of {sum(check.elements for check in checks):,} elements differ by more "
            f"than {tolerance:g} of the largest in {counted(len(checks), 'float tensor')}"
        )
    elements = sum(check.elements for check in integers)
    differing = sum(check.differing for check in integers)
    largest = max((check.largest for check in integers), default=0.0)
    by = f", by {largest:g} at most" if differing else ""
    tensors = counted(len(integers), "integer tensor")
    return f"{differing:,} of {elements:,} elements differ in {tensors}{by}"


def _print_checks(checks: "tuple[TensorCheck, ...]", *, everything: bool) -> None:
    shown = [check for check in checks if everything or check.differing]
    if shown:
        print_table(
            "",
            ("tensor", "dtype", "elements", "differing", "largest"),
            [(c.name, c.dtype, c.elements, c.differing, c.largest) for c in shown],
            wide=("tensor",),
        )
