"""Which pieces of a layer's operands lie in which slots of the scratchpad while it runs."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Region:
    """Consecutive rows of a banked memory, `first` to `stop - 1`."""

    first: int
    stop: int
    bank_rows: int

    def slots(self, rows: int, most: int) -> tuple[int, ...]:
        """The first rows of up to `most` slots of `rows` rows.

        One after the other they lie in different banks where they can: what is loaded into one slot
        then does not keep the array from reading another. Across banks they lie only where all that
        are wanted fit so, or hardly any do otherwise.
        """
        if across := self._across(rows, most):
            return tuple(self.first + i * rows for i in range(across))
        banks = [range(first, stop - rows + 1, rows) for first, stop in self._banks()]
        return in_turn([start for bank in banks for start in bank], self.bank_rows)[:most]

    def count(self, rows: int, most: int) -> int:
        """How many slots that are."""
        return self._across(rows, most) or min(most, self.apart(rows))

    def _across(self, rows: int, most: int) -> int:
        """How many slots lie across banks; 0 where each lies within one."""
        apart, found = self.apart(rows), min(most, (self.stop - self.first) // rows)
        return found if found > apart and (found == most or apart < 3) else 0

    def apart(self, rows: int) -> int:
        """How many slots fit that lie each within one bank."""
        return sum((stop - first) // rows for first, stop in self._banks())

    def even(self, rows: int) -> int:
        """How many slots fit if every bank that has room for one gets as many."""
        counts = [(stop - first) // rows for first, stop in self._banks()]
        used = [count for count in counts if count]
        return min(used, default=0) * len(used)

    def _banks(self) -> list[tuple[int, int]]:
        edges = range(self.first // self.bank_rows + 1, -(-self.stop // self.bank_rows))
        inner = [edge * self.bank_rows for edge in edges]
        return list(zip([self.first, *inner], [*inner, self.stop], strict=True))


def in_turn(starts: Iterable[int], bank_rows: int) -> tuple[int, ...]:
    """The same rows so that their banks take turns; each bank's in the order given."""
    banks: dict[int, list[int]] = {}
    for start in starts:
        banks.setdefault(start // bank_rows, []).append(start)
    found: list[int] = []
    for i in range(max(map(len, banks.values()), default=0)):
        found += [bank[i] for bank in banks.values() if i < len(bank)]
    return tuple(found)


@dataclass
class Slots:
    """Equal slots of a memory. A piece stays until a newer one needs the least used slot."""

    starts: Sequence[int]
    """The first row of each."""
    _held: list[Hashable] = field(default_factory=list[Hashable])
    _age: list[int] = field(default_factory=list[int])
    _clock: int = 0

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all pieces."""
        self._held = [None] * len(self.starts)
        self._age = [0] * len(self.starts)
        self._clock = 0

    def place(self, piece: Hashable, busy: Hashable = None) -> tuple[int, bool, bool]:
        """Where a piece is or goes: (first row, must be loaded, its slot held `busy`).

        `busy` is the piece in use while this one is loaded; its slot is taken only as the last.
        """
        self._clock += 1
        if piece in self._held:
            slot = self._held.index(piece)
            self._age[slot] = self._clock
            return self.starts[slot], False, False
        slots = range(len(self.starts))
        candidates = [i for i in slots if self._held[i] != busy or busy is None]
        conflict = not candidates
        slot = min(candidates or slots, key=self._age.__getitem__)
        self._held[slot], self._age[slot] = piece, self._clock
        return self.starts[slot], True, conflict
