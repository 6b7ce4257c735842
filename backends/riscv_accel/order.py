"""The order in which a program runs: layers together, the host in between."""

import heapq

from mcc.ir import Constant, Module, Op, Yield

from .structure import Layer


def runs(module: Module) -> list[list[Op]]:
    """The ops but constants, ordered for few changes between host and accelerator, in runs.

    A run takes every op of its kind that is ready by then, and is followed by one of the other
    kind; within a run ops keep the module's order.
    """
    ops = [op for op in module.body if not isinstance(op, Constant | Yield)]
    index = {op: number for number, op in enumerate(ops)}
    missing = [sum(v.op in index for v in dict.fromkeys(op.operands)) for op in ops]
    ready: dict[bool, list[int]] = {False: [], True: []}
    for number, op in enumerate(ops):
        if not missing[number]:
            ready[isinstance(op, Layer)].append(number)  # ascending: a heap already
    found: list[list[Op]] = []
    on_accelerator = False
    while ready[False] or ready[True]:
        run: list[Op] = []
        heap = ready[on_accelerator]
        while heap:
            op = ops[heapq.heappop(heap)]
            run.append(op)
            for user in dict.fromkeys(user for result in op.results for user in result.uses):
                if user not in index:
                    continue
                missing[index[user]] -= sum(
                    value in op.results for value in dict.fromkeys(user.operands)
                )
                if not missing[index[user]]:
                    heapq.heappush(ready[isinstance(user, Layer)], index[user])
        if run:
            found.append(run)
        on_accelerator = not on_accelerator
    return found
