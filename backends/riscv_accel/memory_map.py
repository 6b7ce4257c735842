"""Which pieces of a layer's operands lie in which slots of the scratchpad while it runs."""

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass
class Slots:
    """Equal slots in a range of rows. A piece stays until a newer one needs the least used slot."""

    base: int
    rows: int
    """Of one slot."""
    count: int
    _held: list[Hashable] = field(default_factory=list[Hashable])
    _age: list[int] = field(default_factory=list[int])
    _clock: int = 0

    def __post_init__(self) -> None:
        self._held = [None] * self.count
        self._age = [0] * self.count

    def place(self, piece: Hashable, busy: Hashable = None) -> tuple[int, bool, bool]:
        """Where a piece is or goes: (first row, must be loaded, its slot held `busy`).

        `busy` is the piece in use while this one is loaded; its slot is taken only as the last.
        """
        self._clock += 1
        if piece in self._held:
            slot = self._held.index(piece)
            self._age[slot] = self._clock
            return self.base + slot * self.rows, False, False
        candidates = [i for i in range(self.count) if self._held[i] != busy or busy is None]
        conflict = not candidates
        slot = min(candidates or range(self.count), key=self._age.__getitem__)
        self._held[slot], self._age[slot] = piece, self._clock
        return self.base + slot * self.rows, True, conflict

    @property
    def end(self) -> int:
        return self.base + self.rows * self.count
