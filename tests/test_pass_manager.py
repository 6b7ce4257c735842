"""The manager: verification, records, hooks, and passes from outside."""

import textwrap
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
from pass_cases import assert_same_outputs, feeds_of, module_of, op_counts

from mcc.ir import Module, RewriteReport, UserError, VerifyError, evaluate
from mcc.ops import Relu
from mcc.passes import (
    PASSES,
    Pass,
    PassError,
    PassRun,
    discover,
    load_plugin,
    parse_passes,
    pass_named,
    pipeline,
    pipeline_for,
    print_after,
    run_passes,
)

RELUS = """
    %a = relu(%x) : f32[2,3] from "/a"
    %b = relu(%a) : f32[2,3] from "/b"
    %c = add(%b, %b) : f32[2,3] from "/c"
    yield(%c)
"""
SIGNATURE = '(%x: f32[2,3]) -> ("y")'


def relus() -> Module:
    return module_of(RELUS, SIGNATURE)


def break_module(module: Module) -> None:
    """Do what the rewriter would not: take an op's definition away."""
    op = module.inputs[0].uses.copy().popitem()[0]
    op.result.uses.clear()


class Breaks(Pass, name="test-breaks"):
    """Leaves a broken module."""

    def run(self, module: Module, report: RewriteReport) -> Module:
        break_module(module)
        return module


def test_each_pass_leaves_a_record() -> None:
    runs: list[PassRun] = []
    run_passes(relus(), parse_passes("canonicalize,dce"), record=runs.append)
    first, second = runs
    assert str(first.step) == "canonicalize"
    assert (first.ops_before, first.ops_after, dict(first.fired)) == (4, 3, {"merge_clips": 1})
    assert first.rewrites == 1
    assert first.seconds > 0
    assert (second.ops_before, second.ops_after, second.rewrites) == (3, 3, 0)


def test_reasons_are_grouped_with_their_nodes() -> None:
    module = module_of(
        """
        %zero = constant(f32 0.0) : f32[]
        %a = add(%x, %zero) : f32[2,3] from "/a"
        %b = add(%a, %zero) : f32[2,3] from "/b"
        yield(%b)
        """,
        SIGNATURE,
    )
    runs: list[PassRun] = []
    run_passes(module, parse_passes("canonicalize"), record=runs.append)
    (declined,) = runs[0].declined
    assert (declined.rule, declined.op, declined.count) == ("add_nothing", "add", 2)
    assert declined.nodes == ("/a", "/b")
    assert "-0.0" in declined.reason


def test_hooks_see_each_pass_before_and_after() -> None:
    seen: list[str] = []
    texts: list[str] = []
    run_passes(
        relus(),
        parse_passes("canonicalize,dce"),
        before=lambda step, module: seen.append(f"{step} {sum(1 for _ in module.ops())}"),
        after=print_after(["canonicalize"], texts.append),
    )
    assert seen == ["canonicalize 4", "dce 3"]
    (text,) = texts
    assert text.startswith("// after canonicalize\nmodule @case(")
    assert 'relu(%x) : f32[2,3] from "/a", "/b"' in text
    run_passes(relus(), parse_passes("dce,dce"), after=print_after(["*"], texts.append))
    assert len(texts) == 3


def test_a_broken_module_is_refused_before_the_first_pass() -> None:
    module = relus()
    break_module(module)
    with pytest.raises(VerifyError):
        run_passes(module, parse_passes("dce"))


def test_a_pass_of_ours_that_breaks_the_module_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaks, "__module__", "mcc.passes.breaks")
    with pytest.raises(PassError) as caught:
        run_passes(relus(), parse_passes("canonicalize,test-breaks"))
    message = str(caught.value)
    assert "pass test-breaks leaves a broken module: use list of" in message
    assert "(ran before it: canonicalize)" in message


def test_a_pass_of_theirs_that_breaks_the_module_is_their_mistake() -> None:
    with pytest.raises(UserError, match="pass test-breaks leaves a broken module") as caught:
        run_passes(relus(), parse_passes("dce,test-breaks"))
    assert caught.value.remedy == "ran before it: dce"
    assert caught.value.where.startswith(__file__)


PLUGIN = """
    from mcc.ir import Value
    from mcc.ops import Relu, Softmax
    from mcc.passes import Pass

    def rule(op: Relu) -> Value | None:
        return {replacement}

    class Mine(Pass, name="test-mine"):
        strength: int = 1
        rules = (rule,)
"""


def plugin(folder: Path, replacement: str) -> Path:
    path = folder / "my_plugin.py"
    path.write_text(textwrap.dedent(PLUGIN).format(replacement=replacement))
    return path


def test_a_file_of_passes_is_loaded_again_when_it_changes(tmp_path: Path) -> None:
    assert load_plugin(plugin(tmp_path, "None")) == ("test-mine",)
    assert load_plugin(plugin(tmp_path, "op.x")) == ("test-mine",)
    module = run_passes(relus(), parse_passes("test-mine{strength=2},dce"))
    assert op_counts(module) == {"add": 1}
    del PASSES["test-mine"]


def test_the_line_of_a_plugin_that_fails_is_named(tmp_path: Path) -> None:
    path = plugin(tmp_path, "Softmax(op.x, axis=7).result")
    load_plugin(path)
    with pytest.raises(UserError, match="axis 7 is outside rank 2") as caught:
        run_passes(relus(), parse_passes("test-mine"))
    assert caught.value.where == f"{path}:7"
    assert "pass test-mine builds a wrong op: " in str(caught.value)
    load_plugin(plugin(tmp_path, "1 // 0"))
    with pytest.raises(UserError, match="pass test-mine fails: ZeroDivisionError") as caught:
        run_passes(relus(), parse_passes("test-mine"))
    assert caught.value.where == f"{path}:7"
    del PASSES["test-mine"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\ny = x / 0\n", 2, "the file raises ZeroDivisionError: division by zero"),
        ("x = 1\n\ndef f(:\n", 3, "the file raises SyntaxError: invalid syntax"),
        (
            "from mcc.passes import Pass\nclass A(Pass, name='test-new'):\n  pass\n"
            "class B(Pass, name='dce'):\n  pass\n",
            4,
            "the file raises TypeError: two passes are called 'dce'",
        ),
        ("import no_such_module", 1, "the file raises ModuleNotFoundError: No module named"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_plugin(path)
    assert caught.value.where == f"{path}:{line}"
    assert caught.value.message.startswith(message)
    assert "test-new" not in PASSES


def test_a_missing_file_and_a_wrong_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_plugin(tmp_path / "none.py")
    other = tmp_path / "pass.txt"
    other.write_text("")
    with pytest.raises(UserError, match=r"its name must end in \.py"):
        load_plugin(other)


def entries(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    found = EntryPoints([EntryPoint("mine", value, "mcc.passes")])

    def entry_points(group: str) -> EntryPoints:
        return found.select(group=group)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    discover.cache_clear()


def test_installed_plugins_are_found_when_a_name_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path, "None").rename(tmp_path / "installed_plugin.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries(monkeypatch, "installed_plugin")
    assert "test-mine" not in PASSES
    assert pass_named("test-mine").name == "test-mine"
    del PASSES["test-mine"]
    discover.cache_clear()


def test_an_installed_plugin_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, "no_such_module")
    with pytest.raises(UserError, match=r"plugin 'mine' of package .* cannot be imported"):
        pass_named("no-such-pass")
    discover.cache_clear()


def test_the_example_of_the_documentation_runs(examples: Path) -> None:
    assert load_plugin(examples / "my_pass.py") == ("fuse-relu",)
    module = module_of(
        """
        %w = constant(@w) : f32[3,4]
        %a = matmul(%x, %w) : f32[2,4] from "/matmul"
        %b = relu(%a) : f32[2,4] from "/relu"
        %c = matmul(%x, %w) : f32[2,4] from "/other"
        %d = relu(%c) : f32[2,4] from "/kept"
        %e = add(%b, %c) : f32[2,4] from "/add"
        %f = add(%e, %d) : f32[2,4] from "/end"
        yield(%f)
        """,
        SIGNATURE,
        {"w": np.arange(12, dtype=np.float32).reshape(3, 4) - 6},
    )
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)
    runs: list[PassRun] = []
    run_passes(module, parse_passes("fuse-relu,dce"), record=runs.append)
    assert_same_outputs(expected, evaluate(module, feeds), exact=True)
    assert op_counts(module) == {"matmul": 2, "relu": 1, "add": 2}
    assert dict(runs[0].fired) == {"fuse": 1}
    assert [found.reason for found in runs[0].declined] == [
        "others read the product without the relu"
    ]


def test_the_levels_are_pipelines() -> None:
    assert pipeline(0) == ()
    assert [str(step) for step in pipeline(1)][-1] == "dce"
    assert "canonicalize{exact=false}" in map(str, pipeline(3))
    assert pipeline_for("dce", 2) == parse_passes("dce")
    assert pipeline_for(None, 2) == pipeline(2)
    with pytest.raises(UserError, match="no optimization level 4"):
        pipeline(4)


def test_rules_take_their_ops_from_their_annotation() -> None:
    def unreachable(op: Relu) -> None:
        raise AssertionError(op)

    class Never(Pass):
        rules = (unreachable,)

    run_passes(module_of("yield(%x)", SIGNATURE), [Never()])
