"""A module: a whole program, with named inputs and outputs around one region."""

from collections.abc import Iterator, Mapping, Sequence

from .core import Op, Region, Value
from .data import same_array
from .types import Array


class Module:
    """A whole program: named inputs and outputs around one region."""

    def __init__(self, name: str, body: Region, output_names: Sequence[str]) -> None:
        self.name = name
        self.body = body
        self.output_names = tuple(output_names)
        self.meta: dict[str, str] = {}
        """Facts that travel with the module, such as the producer and the opset."""
        body.parent = self

    @property
    def inputs(self) -> tuple[Value, ...]:
        return self.body.args

    @property
    def outputs(self) -> tuple[Value, ...]:
        return self.body.yielded

    def ops(self) -> Iterator[Op]:
        """Every op in order, those of nested regions after the op that holds them."""
        pending = [iter(self.body)]
        while pending:
            op = next(pending[-1], None)
            if op is None:
                pending.pop()
                continue
            yield op
            pending.extend(iter(region) for region in reversed(op.regions))

    def values(self) -> Iterator[Value]:
        """Inputs, then every op's results in order."""
        yield from self.body.args
        for op in self.ops():
            yield from op.results

    def __eq__(self, other: object) -> bool:
        """Same text and the same constant bytes."""
        from .printer import print_module

        if not isinstance(other, Module):
            return NotImplemented
        mine, theirs = print_module(self), print_module(other)
        return mine.text == theirs.text and same_arrays(mine.weights, theirs.weights)

    __hash__ = None  # type: ignore[assignment] # pyright: ignore[reportAssignmentType] -- it is mutable

    def __str__(self) -> str:
        from .printer import print_module

        return print_module(self).text


def same_arrays(left: Mapping[str, Array], right: Mapping[str, Array]) -> bool:
    """Whether two tables hold the same names and the same arrays."""
    return left.keys() == right.keys() and all(same_array(left[name], right[name]) for name in left)
