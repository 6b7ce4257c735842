"""Targets by name, for passes whose options are text."""

from mcc.runtime import Target, load_target

_TARGETS: dict[str, Target] = {}


def remembered(target: Target) -> str:
    """The name under which `target_named` finds this target again in this process."""
    _TARGETS[target.name] = target
    return target.name


def target_named(name: str) -> Target:
    """A remembered target, a shipped one, or one in a file."""
    return _TARGETS.get(name) or load_target(name)
