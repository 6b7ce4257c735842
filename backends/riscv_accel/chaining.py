"""Layers become one where a tensor between them does not fit the cache before DRAM.

    accel.layer(accel.layer(x) { a }) { b } -> accel.layer(x) { a; b }

As two they would write it to DRAM and read it back; one layer runs by strips of rows, and what lies
between its products stays near (`chains.py`). That pays where the second one is a depthwise
convolution: it does so little with each byte that it waits for memory, while a dense one, of which
every output needs all channels, works as long as it loads.
"""

from mcc.ir import Module, OpError, Region, Rewriter, RewriteReport, Value, Yield
from mcc.passes import Pass
from mcc.runtime import Target

from .chains import in_strips
from .cloning import clone
from .layers import Chain, Product, read_layer
from .machines import target_named
from .structure import Layer


class ChainLayers(Pass, name="accel-chain"):
    """Makes one layer of two between which a tensor goes that is larger than the cache."""

    target: str = "riscv-accel"

    def run(self, module: Module, report: RewriteReport) -> Module:
        target = target_named(self.target)
        rewriter = Rewriter(module)
        for op in list(module.body):
            if not isinstance(op, Layer) or (producer := _producer(op)) is None:
                continue
            if producer.result.tensor.nbytes <= target.machine.dma.l2_bytes:
                continue  # what is between them stays in the cache anyway
            if reason := _why_apart(producer, op, target):
                report.declined.append(("chain", op, reason))
                continue
            merged = _merged(producer, op)
            rewriter.insert_before(op, [merged.result])
            rewriter.replace_value(op.result, merged.result)
            rewriter.erase_dead([op])
            report.fired["chain"] += 1
        return module


def _producer(layer: Layer) -> Layer | None:
    """The layer that makes what a layer reads, if nothing else reads that."""
    value = layer.xs[0]
    if len(layer.xs) > 1 or not isinstance(value.op, Layer):
        return None
    return value.op if list(value.uses) == [layer] else None


def _why_apart(producer: Layer, layer: Layer, target: Target) -> str:
    """Why two layers stay two; empty where they become one."""
    try:
        first, second = read_layer(producer), read_layer(layer)
    except OpError as error:
        return error.message
    if not (isinstance(first, Product) and isinstance(second, Product) and second.groups > 1):
        return "the second one is no grouped convolution of what the first one makes"
    if first.x.channels < target.machine.dim or second.x.width != first.width:
        return "the first one's pixels are better taken together"
    for product in (first, second):
        if product.x.batch > 1 or product.exit.pool or product.residual or product.w:
            return "one of them has several images, a pool, a residual, or weights not constant"
    if in_strips(Chain((first, second)), target) is None:
        return "no strip of what is between them fits the machine"
    return ""


def _merged(producer: Layer, layer: Layer) -> Layer:
    """Both as one, around copies of their ops."""
    body = Region([value.type for value in producer.xs])
    values: dict[Value, Value] = {}
    for old, new in zip(producer.xs, body.args, strict=True):
        values[old] = new.like(old)
    for part in (producer, layer):
        inner = {
            argument: values[value] for value, argument in zip(part.xs, part.body.args, strict=True)
        }
        for op in part.body:
            if not isinstance(op, Yield):
                body.append(clone(op, inner))
        values[part.result] = inner[part.body.yielded[0]]
    body.append(Yield((values[layer.result],)))
    merged = Layer(producer.xs, body)
    merged.result.like(layer.result)
    return merged.named(layer.result.name, (*producer.nodes, *layer.nodes))
