"""The pages about the IR are true: their code runs and prints what they say."""

import contextlib
import io
import re
from pathlib import Path

import mcc.ops
from mcc.ir import OPS
from mcc.ops.reference import reference

BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page_runs_and_prints_what_it_says(repository: Path) -> None:
    page = (repository / "docs" / "ir.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "docs.ir"}
    known = set(OPS)
    printed = ""
    try:
        for number, (kind, content) in enumerate(BLOCK.findall(page)):
            if kind == "text":
                assert content.strip() == printed.strip()
                continue
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(content, f"docs/ir.md, block {number}", "exec"), names)
            printed = output.getvalue()
    finally:
        for name in set(OPS) - known:
            del OPS[name]


def test_the_list_of_ops_is_up_to_date(repository: Path) -> None:
    page = (repository / "docs" / "ops.md").read_text(encoding="utf-8")
    assert mcc.ops is not None
    assert page == reference(), "python -m mcc.ops.reference > docs/ops.md"


def test_every_op_says_what_it_is() -> None:
    for op_class in OPS.values():
        if op_class.__module__.startswith(("mcc.ir.", "mcc.ops.")):
            text = op_class.__dict__.get("__doc__")
            assert text, f"{op_class.__name__} has no docstring"
