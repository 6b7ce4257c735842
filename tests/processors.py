"""Targets of the CPU backend that tests compile for."""

from mcc.runtime import Target, load_target


def native_without(*features: str) -> Target:
    """This processor without some of its features, by LLVM's names, such as `amx-tile`."""
    record = load_target("cpu").to_dict()
    record["host"] = {"isa": "native", "features": [f"-{name}" for name in features]}
    return Target.from_dict(record)
