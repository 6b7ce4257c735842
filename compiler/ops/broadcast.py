"""The broadcasting rule shared by element-wise ops."""

from mcc.ir import Dim, OpError, Tensor, Value


def broadcast(**operands: Value) -> tuple[Dim, ...]:
    """The common shape of the operands by numpy's rule; an error names who does not fit."""
    rank = max(value.tensor.rank for value in operands.values())
    shape: list[Dim] = [1] * rank
    for name, value in operands.items():
        dims = value.tensor.shape
        for position, dim in enumerate(dims, start=rank - len(dims)):
            if dim == 1 or dim == shape[position]:
                continue
            if shape[position] != 1:
                shown = " and ".join(f"{key} {item.tensor}" for key, item in operands.items())
                raise OpError(f"shapes do not broadcast: {shown}", name)
            shape[position] = dim
    return tuple(shape)


def same_numbers(**operands: Value) -> Tensor:
    """The broadcast type of operands that must be numbers of one dtype."""
    for name, value in operands.items():
        if not value.tensor.dtype.is_number:
            raise OpError(f"{name} must be a tensor of numbers, is {value.tensor}", name)
    return same_dtype(**operands)


def same_dtype(**operands: Value) -> Tensor:
    """The broadcast type of operands that must agree in dtype."""
    (first, head), *rest = operands.items()
    for name, value in rest:
        if value.tensor.dtype is not head.tensor.dtype:
            raise OpError(
                f"{first} is {head.tensor.dtype}, {name} is {value.tensor.dtype}; they must agree",
                name,
            )
    return Tensor(head.tensor.dtype, broadcast(**operands))
