"""Stage `partitioned`: which ops the accelerator runs, and which of them are one layer.

    requantize(conv(x)) -> accel.layer(x) { requantize(conv) }

with the table and the maximum pool that follow, where the way out of the accumulator can do them.
"""

from collections.abc import Sequence

from mcc.ir import (
    Constant,
    Module,
    Op,
    Region,
    Rewriter,
    RewriteReport,
    Value,
    Yield,
    constant_of,
)
from mcc.ops import Conv, Lookup, MaxPool, Pad, Requantize, SumPool, spatial_axes
from mcc.passes import Pass
from mcc.runtime import Target

from .cloning import clone
from .layers import source
from .machines import target_named
from .reasons import why_not_exit, why_not_lookup, why_not_pool, why_not_product, why_on_host
from .structure import Layer

Anchor = Requantize | Lookup | MaxPool


class Partition(Pass, name="accel-partition"):
    """Groups what the accelerator can run into layers; reports why the rest stays on the host."""

    target: str = "riscv-accel"

    def run(self, module: Module, report: RewriteReport) -> Module:
        target = target_named(self.target)
        rewriter = Rewriter(module)
        for op in list(module.body):
            # An op may have gone into a layer already.
            if op.region is None or not isinstance(op, Requantize | Lookup | MaxPool):
                continue
            ops = _group(op, target)
            if not ops:
                continue
            if isinstance(ops[0], Conv):
                _pad_on_host(ops, rewriter, target)
            last, layer = ops[-1], _layer(ops)
            rewriter.insert_before(last, [layer.result])
            rewriter.replace_value(last.results[0], layer.result)
            rewriter.erase_dead([last])
            report.fired["layer"] += 1
        for op in module.body:
            if not isinstance(op, Layer | Constant | Yield):
                report.declined.append(("layer", op, why_on_host(op, target)))
        return module


def _group(op: Anchor, target: Target) -> list[Op]:
    """The ops of the layer that `op` anchors, in order; empty where it must run on the host."""
    match op:
        case MaxPool():
            return [] if why_not_pool(op, target, padded_by_machine=False) else [op]
        case Lookup():
            return [] if why_not_lookup(op, target) else [op]
        case Requantize():
            pass
    product = op.x.op
    if (
        product is None
        or why_not_product(product, target)
        or why_not_exit(op, target)
        or not _only_use(op.x, op)
    ):
        return []
    group: list[Op] = [product, op]
    follower = _only_user(op.result)
    if isinstance(follower, Lookup) and not why_not_lookup(follower, target):
        group.append(follower)
        follower = _only_user(follower.result)
    if isinstance(follower, MaxPool) and _pools_on_the_way(group, follower, target):
        group.append(follower)
    return group


def _only_use(value: Value, op: Op) -> bool:
    return list(value.uses) == [op] and value.uses[op] == 1


def _only_user(value: Value) -> Op | None:
    users = list(value.uses)
    return users[0] if len(users) == 1 and value.uses[users[0]] == 1 else None


def _pools_on_the_way(group: Sequence[Op], pool: MaxPool, target: Target) -> bool:
    """Whether a maximum pool may follow on the way out: possible, and little is computed twice."""
    product, requantize = group[0], group[1]
    assert isinstance(requantize, Requantize)
    if not isinstance(product, Conv | SumPool):
        return False
    if why_not_pool(pool, target, padded_by_machine=True):
        return False
    _, pads, _ = pool.geometry
    axes = spatial_axes(pool.layout, pool.x.tensor.rank)
    dims = pool.x.tensor.dims
    hangs_over = any(
        (pool.result.tensor.dims[a] - 1) * pool.geometry[0][i] + pool.kernel[i] > dims[a] + pads[i]
        for i, a in enumerate(axes)
    )
    # Stock pooling pads with 0, the least value only after a relu.
    if not target.has("pool") and (any(pads) or hangs_over) and requantize.lo != 0:
        return False
    width = dims[axes[-1]]
    size, stride = (pool.kernel[0], pool.geometry[0][0]) if len(axes) == 2 else (1, 1)
    # Rows of a padded image lie apart by its padding; this bound has room for it.
    rows = target.machine.accumulator.total_rows // 2 // (width + 2 * pool.kernel[-1])
    if rows < size:
        return False
    pooled = min((rows - size) // stride + 1, pool.result.tensor.dims[axes[0]])
    return (pooled - 1) * stride + size <= 1.34 * pooled * stride


def _pad_on_host(ops: list[Op], rewriter: Rewriter, target: Target) -> None:
    """Few channels from the host: let it pad the columns, so that window rows can be gathered."""
    conv = ops[0]
    assert isinstance(conv, Conv)
    strides, pads, dilations = conv.geometry
    channels, cols = conv.x.tensor.dims[-1], conv.w.tensor.dims[-1]
    machine, rank = target.machine, len(strides)
    on_host = not isinstance(source(conv.x).op, Layer)
    gathered, apart = -(-cols * channels // machine.dim), cols * -(-channels // machine.dim)
    if (
        not on_host
        or conv.groups > 1
        or dilations[-1] != 1
        or not (pads[rank - 1] or pads[-1])
        or gathered >= apart
        or cols * channels > machine.max_move_bytes
    ):
        return
    around = [0] * (2 * (rank + 2))
    around[rank], around[2 * rank + 2] = pads[rank - 1], pads[-1]
    name = f"{conv.x.name}.padded" if conv.x.name else ""
    padded = Pad(conv.x, tuple(around), float(conv.pad_value)).named(name, conv.nodes)
    padded.results[0].axes = conv.x.axes
    padded.results[0].quant = conv.x.quant
    inner = list(pads)
    inner[rank - 1] = inner[-1] = 0
    fresh = clone(conv, {}, x=padded.result, pads=tuple(inner))
    rewriter.replace(conv, fresh.result)
    ops[0] = fresh


def _layer(ops: Sequence[Op]) -> Layer:
    """A layer around copies of `ops`, their constants and the reshapes that feed them."""
    inside = {value for op in ops for value in op.results}
    feeding = [value for op in ops for value in op.operands if value not in inside]
    activations = [value for value in feeding if constant_of(value) is None]
    sources = list(dict.fromkeys(source(value) for value in activations))
    body = Region([value.type for value in sources])
    mapping = dict(zip(sources, body.args, strict=True))
    for argument, value in zip(body.args, sources, strict=True):
        argument.axes, argument.quant = value.axes, value.quant
    for value in feeding:
        _bring_in(value, body, mapping)
    for op in ops:
        body.append(clone(op, mapping))
    body.append(Yield((mapping[ops[-1].results[0]],)))
    layer = Layer(tuple(sources), body)
    # A requantize is named after what it was fused from; the product knows better.
    named = [op for op in ops if not isinstance(op, Requantize)] or ops
    nodes = dict.fromkeys(node for op in named for node in op.nodes)
    layer.result.like(ops[-1].results[0])
    layer.named(layer.result.name, tuple(nodes))
    return layer


def _bring_in(value: Value, body: Region, mapping: dict[Value, Value]) -> None:
    """Copy the constant or the chain of reshapes behind a value into the region."""
    chain: list[Op] = []
    while value not in mapping and value.op is not None:
        chain.append(value.op)
        if not value.op.operands:
            break
        value = value.op.operands[0]
    for op in reversed(chain):
        body.append(clone(op, mapping))
