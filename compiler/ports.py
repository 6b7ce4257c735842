"""A module's inputs and outputs as the artifact describes them."""

from mcc.ir import Module, Quant, Value, constant_of
from mcc.ops import Quantize
from mcc.runtime import Port


def input_ports(module: Module) -> tuple[Port, ...]:
    """One port an input, with the range that its quantizer covers."""
    return tuple(_input(value) for value in module.inputs)


def output_ports(module: Module) -> tuple[Port, ...]:
    """One port an output."""
    return tuple(
        _port(name, value, value.quant)
        for name, value in zip(module.output_names, module.outputs, strict=True)
    )


def _input(value: Value) -> Port:
    port = _port(value.name, value, value.quant)
    for reader in value.uses:
        if isinstance(reader, Quantize):
            scale, zero = constant_of(reader.scale), constant_of(reader.zero)
            if scale is not None and zero is not None and scale.ndim == 0:
                low, high = reader.result.tensor.dtype.limits
                step, offset = float(scale), int(zero)
                return port.model_copy(
                    update={"low": (low - offset) * step, "high": (high - offset) * step}
                )
    return port


def _port(name: str, value: Value, quant: Quant | None) -> Port:
    tensor = value.tensor
    port = Port(name=name, dtype=tensor.dtype.value, shape=tensor.dims)
    if quant is None or quant.axis is not None:
        return port
    return port.model_copy(update={"scale": quant.scale[0], "zero": quant.zero[0]})


__all__ = ["input_ports", "output_ports"]
