"""What mcc says of layers that a machine's memories cannot hold."""

import pytest
from accel_layers import Builder, Case, Exit

from mcc.backends.riscv_accel import stages
from mcc.ir import Module, RewriteReport, UserError, parse, print_module
from mcc.ops import Conv, MaxPool
from mcc.runtime import Target, load_target


def machine(**memories: dict[str, int]) -> Target:
    """The default machine with other memories, of `banks` banks of `rows` rows."""
    target = load_target("riscv-accel")
    changed = {
        name: getattr(target.machine, name).model_copy(update=numbers)
        for name, numbers in memories.items()
    }
    accelerator = target.machine.model_copy(update=changed)
    return target.model_copy(update={"name": "small", "accelerator": accelerator})


def convolution(*, residual: bool = False) -> Case:
    """3x3 on 8x32 pixels of 32 channels."""
    builder = Builder(3)
    inputs = {"x": (1, 8, 32, 32), **({"r": (1, 8, 32, 32)} if residual else {})}
    x, *rest = builder.start(**inputs)
    sums = Conv(
        x,
        builder.weights(32, 32, 3, 3),
        builder.vector(32, 100),
        rest[0] if rest else None,
        builder.vector(32, 200) if rest else None,
        pads=(1, 1, 1, 1),
        layout="nhwc",
    )
    y = Exit().apply(builder, builder.add(sums, "sums"), 1000.0, "conv")
    return builder.finish(y)


def pooling() -> Case:
    builder = Builder(3)
    (x,) = builder.start(x=(1, 8, 600, 16))
    return builder.finish(builder.add(MaxPool(x, (3, 3), strides=(1, 1), layout="nhwc"), "pool"))


def staged(case: Case, target: Target) -> Module:
    """The module after all stages."""
    module = case.module
    for stage in stages(target):
        for step in stage.passes:
            module = step.run(module, RewriteReport())
    return module


def refusal(case: Case, target: Target) -> UserError:
    text = print_module(case.module)  # stages change the module
    with pytest.raises(UserError) as caught:
        staged(Case(parse(text.text, text.weights), case.feeds), target)
    return caught.value


@pytest.mark.parametrize(
    ("case", "memories", "said"),
    [
        (
            convolution(),
            {"scratchpad": {"banks": 4, "rows": 32}},
            "its smallest tile needs scratchpad rows: 54 for the input, 144 for weights, of 128 in "
            "4 banks, weights in other banks than the input; and 16 accumulator rows, of 512",
        ),
        (
            convolution(residual=True),
            {"scratchpad": {"banks": 2, "rows": 180}},
            "54 for the input, 144 for weights, 32 for the residual, 40 for the residual's factors",
        ),
        (
            convolution(),
            {"accumulator": {"banks": 2, "rows": 8}},
            "and 16 accumulator rows, of 8 (half, the other half is being stored)",
        ),
        (
            pooling(),
            {"scratchpad": {"banks": 4, "rows": 512}},
            "one row of pooling windows needs 1800 scratchpad rows, there are 1024 in half",
        ),
    ],
    ids=["scratchpad", "residual", "accumulator", "pool"],
)
def test_a_layer_that_cannot_fit_says_what_it_needs(
    case: Case, memories: dict[str, dict[str, int]], said: str
) -> None:
    error = refusal(case, machine(**memories))
    assert error.message.startswith("the layer does not fit small: ")
    assert said in error.message
    assert error.where.startswith("node of ")
    assert error.remedy == "use a target with larger memories, or a smaller input shape"


def test_what_is_said_to_be_enough_is_enough() -> None:
    """Two banks: the weights fill one, the input lies in the other."""
    staged(convolution(), machine(scratchpad={"banks": 2, "rows": 144}))
