"""Random networks: what layers hand to each other is right in every bit."""

from accel_checks import FEW, check, small
from accel_layers import Case
from accel_networks import networks
from hypothesis import given
from hypothesis import strategies as st


@FEW
@given(networks(stock=True))
def test_networks_on_stock_hardware(case: Case) -> None:
    check(case, "gemmini")


@FEW
@given(networks(stock=False))
def test_networks_with_extensions(case: Case) -> None:
    check(case, "riscv-accel")


@FEW
@given(st.data(), st.sampled_from(["gemmini", "riscv-accel"]))
def test_networks_in_small_memories(data: st.DataObject, name: str) -> None:
    case = data.draw(networks(stock=name == "gemmini"))
    check(case, small(name))
