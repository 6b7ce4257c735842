"""`mcc profile`: where an artifact's time goes, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import (
    counted,
    duration,
    json_option,
    print_json,
    print_table,
    size,
    threads_option,
    verbose_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcc.runtime import Artifact
    from mcc.runtime.profiling import KernelTime, LayerProfile, Profile


@click.command("profile")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--cold", is_flag=True, help="The first inference, with nothing in the cache.")
@click.option(
    "--trace",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="Write trace events, for Perfetto.",
)
@click.option(
    "--roofline",
    metavar="FILE.svg|FILE.png",
    type=click.Path(path_type=Path),
    help="Draw a roofline.",
)
@threads_option
@json_option
@verbose_option
def command(
    artifact: Path,
    cold: bool,
    trace: Path | None,
    roofline: Path | None,
    threads: int | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Show where the time of ARTIFACT, a .mcc file, goes.

    For an accelerator: each layer's cycles in the cycle model, its share, how far it fills the
    array, the bytes it moves, and what bounds it (docs/profiling.md). Cycles are those of a second
    inference, whose data the cache holds as far as they fit.

    For the CPU: how long each kernel takes on this machine.
    """
    from mcc.ir import UserError, check_writable, write_atomically
    from mcc.runtime import load

    loaded = load(artifact)
    if loaded.target.backend == "cpu":
        for option, given in (("--trace", trace), ("--roofline", roofline), ("--cold", cold)):
            if given:
                raise UserError(
                    f"{option} is for accelerators, and this artifact is for the CPU",
                    where=str(artifact),
                    remedy="leave it out, or compile with --target riscv-accel",
                )
        _profile_cpu(loaded, artifact, threads, as_json, verbose)
        return
    if threads is not None:
        raise UserError(
            "--threads is for CPUs, and this artifact is for an accelerator",
            where=str(artifact),
            remedy="leave it out",
        )
    from mcc.runtime import Program, profiling

    form = profiling.check_picture(roofline) if roofline is not None else ""
    for path in (trace, roofline):
        if path is not None:
            check_writable(path)  # before the work, not after it
    profile = profiling.profile_program(Program.from_artifact(loaded), loaded.target, cold=cold)
    if trace is not None:
        write_atomically(trace, profiling.trace_events(profile))
    if roofline is not None:
        title = f"{loaded.manifest.model} on {loaded.target.name}"
        write_atomically(roofline, profiling.roofline(profile, title, form))
    written = [str(path) for path in (trace, roofline) if path is not None]
    if as_json:
        print_json({**_record(profile, loaded, artifact), "written": written})
        return
    _print(profile, loaded, verbose)
    for name in written:
        click.echo(f"wrote {name}")


def _record(profile: "Profile", artifact: "Artifact", path: Path) -> dict[str, object]:
    return {
        "artifact": str(path),
        "model": artifact.manifest.model,
        "target": profile.target.name,
        "run": "cold" if profile.cold else "warm",
        "cycles": profile.cycles,
        "macs": profile.macs,
        "utilisation": profile.utilisation,
        "busy": {unit: lane.total for unit, lane in profile.lanes.items()},
        "layers": [
            {
                "name": layer.tensor,
                "nodes": list(layer.nodes),
                "begin": layer.begin,
                "cycles": layer.cycles,
                "share": _share(layer.cycles, profile.cycles),
                "commands": layer.commands,
                "macs": layer.macs,
                "utilisation": layer.utilisation,
                "bytes_in": layer.bytes_in,
                "bytes_out": layer.bytes_out,
                "dram_bytes": layer.dram_bytes,
                "busy": layer.busy,
                "fences": layer.fences,
                "bound": layer.bound,
            }
            for layer in profile.layers
        ],
        "host": [
            {"op": op.op, "name": op.tensor, "nodes": list(op.nodes), "reason": op.reason}
            for op in profile.program.host
        ],
    }


def _print(profile: "Profile", artifact: "Artifact", verbose: int) -> None:
    state = "cold (first)" if profile.cold else "warm (second)"
    click.echo(f"{artifact.manifest.model} on {profile.target.name}, a {state} inference")
    heads = ["layer", "cycles", "share", "array", "in", "out", "commands", "bound by"]
    rows = [_row(layer, profile, verbose) for layer in profile.layers]
    layers = profile.layers
    total: list[object] = [
        "total",
        profile.cycles,
        _percent(1.0 if profile.cycles else 0.0),
        _percent(profile.utilisation),
        size(sum(layer.bytes_in for layer in layers)),
        size(sum(layer.bytes_out for layer in layers)),
        sum(layer.commands for layer in layers),
        "",
    ]
    if layers:
        print_table("", heads, [*rows, total], wide=("layer",))
    else:
        click.echo("  the accelerator has nothing to do")
    if layers and verbose:
        _print_busy(profile)
    if profile.program.host:
        count = counted(len(profile.program.host), "op")
        click.echo(f"on the host, not in these cycles: {count}")
        for op in profile.program.host:
            name = op.tensor or ", ".join(op.nodes) or "unnamed"
            click.echo(f"  {op.op} ({name}): {op.reason}")


def _print_busy(profile: "Profile") -> None:
    """For how many of a layer's cycles each unit works."""
    layers = profile.layers
    rows = [
        _busy_row(
            _label(layer, 0), layer.dram_bytes, [*layer.busy.values(), layer.fences], layer.cycles
        )
        for layer in layers
    ]
    total = _busy_row(
        "total",
        sum(layer.dram_bytes for layer in layers),
        [
            *(lane.total for lane in profile.lanes.values()),
            sum(layer.fences for layer in layers),
        ],
        profile.cycles,
    )
    click.echo("busy, of a layer's cycles")
    heads = ("layer", "from DRAM", *profile.lanes, "at fences")
    print_table("", heads, [*rows, total], wide=("layer",))


def _busy_row(name: str, dram_bytes: int, busy: "Sequence[float]", cycles: float) -> list[object]:
    return [name, size(dram_bytes), *(_percent(_share(amount, cycles)) for amount in busy)]


def _label(layer: "LayerProfile", verbose: int) -> str:
    from mcc.runtime.profiling import node_label

    return node_label(layer.nodes, whole=verbose > 0) if layer.nodes else layer.tensor


def _row(layer: "LayerProfile", profile: "Profile", verbose: int) -> list[object]:
    return [
        _label(layer, verbose),
        layer.cycles,
        _percent(_share(layer.cycles, profile.cycles)),
        _percent(layer.utilisation),
        size(layer.bytes_in),
        size(layer.bytes_out),
        layer.commands,
        layer.bound,
    ]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _profile_cpu(
    artifact: "Artifact", path: Path, threads: int | None, as_json: bool, verbose: int
) -> None:
    from mcc.runtime.profiling import node_label, profile_library

    from ..samples import random_samples

    feeds = random_samples(artifact.manifest, 1)[0]
    profile = profile_library(artifact, feeds, threads)
    kernels, whole = profile.kernels, profile.seconds
    total = sum(kernel.seconds for kernel in kernels)
    if as_json:
        print_json(
            {
                "artifact": str(path),
                "model": artifact.manifest.model,
                "target": artifact.target.name,
                "microseconds": 1e6 * whole,
                "kernels": [_kernel_record(kernel, total) for kernel in kernels],
            }
        )
        return
    click.echo(f"{artifact.manifest.model} on {artifact.target.name}")
    rows: list[list[object]] = [
        [
            node_label(kernel.call.nodes, whole=verbose > 0)
            if kernel.call.nodes
            else kernel.call.value,
            kernel.call.kernel,
            f"{1e6 * kernel.seconds:,.1f}",
            _percent(_share(kernel.seconds, total)),
        ]
        for kernel in kernels
    ]
    rows.append(["total of the kernels", "", f"{1e6 * total:,.1f}", _percent(1.0)])
    print_table("", ("layer", "kernel", "µs", "share"), rows, wide=("layer",))
    click.echo(f"an inference takes {duration(1e3 * whole)}, calls and copies included")


def _kernel_record(kernel: "KernelTime", total: float) -> dict[str, object]:
    return {
        "name": kernel.call.value,
        "nodes": list(kernel.call.nodes),
        "kernel": kernel.call.kernel,
        "microseconds": 1e6 * kernel.seconds,
        "share": _share(kernel.seconds, total),
    }
