"""What a library computes and holds: the numbers that a compilation prints."""

import json
from typing import TYPE_CHECKING

from mcc.ir import Constant, Module, Tensor
from mcc.ops import Conv, Matmul

if TYPE_CHECKING:
    from .source import Source


def report(module: Module, source: "Source", library_bytes: int) -> bytes:
    """`report.json`: a row for each convolution and matrix product, and totals."""
    products = [op for op in module.ops() if isinstance(op, Conv | Matmul)]
    layers = [
        {
            "name": op.result.name or op.op_name,
            "kind": op.op_name,
            "nodes": list(op.nodes),
            "macs": op.macs,
        }
        for op in products
    ]
    weights = [op.result.type for op in module.ops() if isinstance(op, Constant)]
    totals = {
        "macs": sum(op.macs for op in products),
        "weight_bytes": sum(type_.nbytes for type_ in weights if isinstance(type_, Tensor)),
        "kernels": len({kernel.symbol for kernel in source.kernels}),
        "library_bytes": library_bytes,
        "memory_peak": source.program.workspace,
        "memory_bound": source.program.lower_bound,
    }
    return json.dumps({"layers": layers, "host": [], "totals": totals}, indent=1).encode()
