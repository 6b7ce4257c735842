"""The two kinds of failure that every layer may raise."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the user's input: a message with place, reason and remedy (exit status 2)."""

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.remedy}" if self.remedy else ""
        return f"{place}{self.message}{advice}"


class OpError(ValueError):
    """An op that breaks its own rule. `field` names the operand or attribute at fault, if one is.

    It is not a `UserError`: only who built the op (the importer, the parser, a pass) knows whose
    mistake it is. `reason` is the message without the op's text and caret.
    """

    def __init__(self, message: str, field: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.reason = reason or message


def known_names(names: Iterable[object]) -> str:
    """The sentence that ends every «unknown name» message: what would have been right."""
    return "known: " + (", ".join(sorted(str(name) for name in names)) or "none")
