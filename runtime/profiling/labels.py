"""What a layer or kernel is called where people read."""

from collections.abc import Sequence


def node_label(nodes: Sequence[str], *, whole: bool = False) -> str:
    """ONNX nodes in a table: the first and how many more, or all of them.

    Converters from TensorFlow join the names of what they fused by semicolons; the first stands
    for them.
    """
    if whole:
        return ", ".join(nodes)
    first = nodes[0].partition(";")[0] or nodes[0]
    return first if len(nodes) == 1 else f"{first} (+{len(nodes) - 1})"
