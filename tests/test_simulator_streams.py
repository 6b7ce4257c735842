"""The simulator against recorded hardware: the output bytes of every explicit command stream."""

from pathlib import Path

from rtl_streams import differing_outputs, new_machine, read_streams

from mcc.runtime.isa import check_portable
from mcc.runtime.target import load_target


def test_outputs_equal_the_hardware_s(shared: Path) -> None:
    target = load_target("gemmini")
    compared = 0
    for stream in read_streams(shared / "rtl" / "streams"):
        if stream.form != "explicit":
            continue
        assert check_portable(stream.commands) is None
        machine = new_machine(target, stream)
        machine.run(stream.setup)
        machine.run(stream.commands)
        assert differing_outputs(machine, stream) == [], stream.name
        compared += len(stream.outputs)
    assert compared >= 45
