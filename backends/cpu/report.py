"""What a library computes and holds: the numbers that a compilation prints."""

import json

from mcc.ir import Constant, Module, Tensor
from mcc.ops import Conv, Matmul


def report(module: Module, kernels: int, library: bytes) -> bytes:
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
        "kernels": kernels,
        "library_bytes": len(library),
    }
    return json.dumps({"layers": layers, "host": [], "totals": totals}, indent=1).encode()
