"""What a pass is: a named, frozen set of options and a change to a module."""

from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from mcc.ir import Module, RewriteReport, Rule, UserError, apply_rules, known_names

PASSES: dict[str, type["Pass"]] = {}
"""Every pass class by its name on the command line."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Pass:
    """One step of the compiler. A subclass's annotated fields are its options.

    Most only list `rules`. A pass that is not a set of rules overrides `run`. A module verifies
    before and after a pass, not during it.
    """

    name: ClassVar[str] = ""
    rules: ClassVar[tuple[Rule, ...]] = ()

    if TYPE_CHECKING:  # every subclass is made a dataclass
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, name: str = "") -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)
        if name:
            if name in PASSES:
                raise TypeError(f"two passes are called {name!r}")
            cls.name = name
            PASSES[name] = cls

    def active_rules(self) -> tuple[Rule, ...]:
        """This instance's rules; a pass whose options choose among them overrides this."""
        return self.rules

    def run(self, module: Module, report: RewriteReport) -> Module:
        """Change the module, in place or into a new one, and return it.

        `report` collects what was done, and what was not and why.
        """
        outcome = apply_rules(module, self.active_rules())
        report.fired.update(outcome.fired)
        report.declined.extend(outcome.declined)
        return module

    def __str__(self) -> str:
        """The pass with the options that differ from their defaults, as a pipeline spells it."""
        from .spec import format_pass

        return format_pass(self)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """The names of the pass's options, in order of declaration."""
        return tuple(field.name for field in fields(cls))


def pass_named(name: str) -> type[Pass]:
    """The pass class of that name, from mcc, a loaded file or an installed plugin.

    Raises:
        UserError: For an unknown name, with the known ones.
    """
    from .plugins import discover

    if name not in PASSES:
        discover()
    found = PASSES.get(name)
    if found is None:
        import difflib

        close = difflib.get_close_matches(name, list(PASSES), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"unknown pass {name!r}", remedy=hint + known_names(PASSES))
    return found


__all__ = ["PASSES", "Pass", "pass_named"]
