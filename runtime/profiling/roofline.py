"""A profile as a roofline: each layer's rate against what the array and the bus allow."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.ir import UserError

from .labels import node_label
from .layers import Bound, LayerProfile, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 16
"""Layers whose numbers and names are shown: those with the most cycles."""
_NEAR = 0.2
"""Points so near each other, in octaves, share a label."""
_FORMATS = ("png", "svg")
_COLOURS: dict[Bound, str] = {
    "array": "#2a7f3f",
    "loads": "#c0392b",
    "stores": "#8e44ad",
    "issue": "#e08e0b",
    "fences": "#4a6fa5",
    "waits": "#7f8c8d",
}


def check_picture(path: Path) -> str:
    """The format that a picture's name asks for; `UserError` for others, or without matplotlib."""
    from importlib.util import find_spec

    form = path.suffix.lower().removeprefix(".")
    if form not in _FORMATS:
        raise UserError(
            f"a roofline is drawn as .svg or .png, not as {path.suffix or 'a file without either'}",
            where=str(path),
            remedy=f"give for example --roofline {path.stem or 'roofline'}.svg",
        )
    if find_spec("matplotlib") is None:
        raise UserError(
            "drawing a roofline needs matplotlib", remedy="pip install 'mcc-compiler[profile]'"
        )
    return form


def roofline(profile: Profile, title: str, form: str) -> bytes:
    """The picture, as `svg` or `png`. A layer without products has no place in it.

    A point's height is its layer's MACs a cycle, its place along the axis MACs for each byte moved
    between the accelerator and memory, its area the layer's share of the cycles.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    layers = [layer for layer in profile.layers if layer.macs and layer.cycles]
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("MACs for each byte to and from memory")
    axes.set_ylabel("MACs a cycle")
    runs = "cold" if profile.cold else "warm"
    axes.set_title(f"{title}: {profile.cycles:,} cycles ({runs})", loc="left")
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    _roofs(axes, profile, layers)
    _points(axes, layers, profile.cycles)
    content = io.BytesIO()
    # Text stays text; the same profile gives the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mcc"}):
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(content, format=form, dpi=140, metadata=metadata)
    return content.getvalue()


def _intensity(layer: LayerProfile) -> float:
    return layer.macs / max(layer.bytes_in + layer.bytes_out, 1)


def _roofs(axes: "Axes", profile: Profile, layers: Sequence[LayerProfile]) -> None:
    machine = profile.target.machine
    peak = float(machine.dim**2)
    bus, dram = float(machine.dma.beat_bytes), machine.dma.dram_bytes_per_cycle
    places = [_intensity(layer) for layer in layers]
    rates = [layer.macs / layer.cycles for layer in layers]
    left = min([*places, peak / bus]) / 2
    right = max([*places, peak / dram]) * 4
    axes.set_xlim(left, right)
    axes.set_ylim(min([*rates, left * bus]) / 2, peak * 4)
    axes.plot(
        [peak / bus, right],
        [peak, peak],
        color="black",
        linewidth=2.2,
        label=f"array: {peak:.0f} MACs a cycle",
    )
    if profile.target.has("sparse_2_4"):
        axes.plot(
            [peak / bus, 2 * peak / bus, right],
            [peak, 2 * peak, 2 * peak],
            color="black",
            linestyle=":",
            linewidth=1.4,
            label=f"array, 2:4 weights: {2 * peak:.0f} MACs a cycle",
        )
    roofs = [(bus, "bus", "-")]
    if dram != bus:
        roofs.append((dram, "DRAM", "--"))
    for bandwidth, name, style in roofs:
        axes.plot(
            [left, peak / bandwidth],
            [left * bandwidth, peak],
            color="black",
            linestyle=style,
            linewidth=1.4,
            label=f"{name}: {bandwidth:g} bytes a cycle",
        )


def _points(axes: "Axes", layers: Sequence[LayerProfile], total: int) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.patheffects import withStroke

    largest = sorted(layers, key=lambda layer: -layer.cycles)[:NAMED]
    for bound, colour in _COLOURS.items():
        chosen = [layer for layer in layers if layer.bound == bound]
        if not chosen:
            continue
        axes.scatter(
            [_intensity(layer) for layer in chosen],
            [layer.macs / layer.cycles for layer in chosen],
            s=[_area(layer, total) for layer in chosen],
            color=colour,
            alpha=0.55,
            edgecolors=colour,
            label=f"bound by {bound}",
        )
    for place, numbers in _labels(largest).items():
        size = max(_area(largest[number - 1], total) for number in numbers)
        axes.annotate(
            ", ".join(map(str, numbers)),
            place,
            xytext=(0, 1 + math.sqrt(size / math.pi)),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],  # over lines and points
        )
    lines = ["  #   share  layer"]
    for number, layer in enumerate(largest, 1):
        lines.append(f"{number:>3}  {100 * layer.cycles / total:4.1f} %  {_short(layer)}")
    if len(layers) > len(largest):
        lines.append(f"     and {len(layers) - len(largest)} more")
    legend = axes.legend(loc="lower right", fontsize=8)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40.0])
    axes.annotate(
        "\n".join(lines).replace(" ", "\N{NO-BREAK SPACE}"),  # SVG joins plain ones
        (1.01, 1.0),
        xycoords="axes fraction",
        va="top",
        fontsize=8,
        family="monospace",
        annotation_clip=False,
    )


def _labels(layers: Sequence[LayerProfile]) -> dict[tuple[float, float], list[int]]:
    """Numbers from 1 on by the place where they stand; those of near points stand together."""
    found: dict[tuple[float, float], list[int]] = {}
    for number, layer in enumerate(layers, 1):
        x, y = _intensity(layer), layer.macs / layer.cycles
        near = (
            place
            for place in found
            if max(abs(math.log2(x / place[0])), abs(math.log2(y / place[1]))) < _NEAR
        )
        found.setdefault(next(near, (x, y)), []).append(number)
    return found


def _area(layer: LayerProfile, total: int) -> float:
    """Of its point, in square points."""
    return 30 + 1500 * layer.cycles / total


def _short(layer: LayerProfile, width: int = 36) -> str:
    name = node_label(layer.nodes) if layer.nodes else layer.tensor
    return name if len(name) <= width else f"…{name[1 - width :]}"
