"""docs/onnx.md lists the operators that there are."""

import re
from pathlib import Path

from mcc.frontend.registry import known_operators
from mcc.frontend.schemas import has_body, newest_opset


def test_every_operator_is_in_the_table(repository: Path) -> None:
    text = (repository / "docs" / "onnx.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([A-Z].*) \|$", text, re.MULTILINE)
    listed = [name for row in rows for name in row.split(", ")]
    assert sorted(listed) == list(known_operators())


def test_the_operators_that_onnx_defines_have_a_definition(repository: Path) -> None:
    text = (repository / "docs" / "onnx.md").read_text()
    sentence = re.search(r"replaced by that definition: ([^.]*)\.", text)
    assert sentence is not None
    for name in re.split(r",\s+", sentence[1]):
        assert has_body(name, "", newest_opset()), name
        assert name not in known_operators()
