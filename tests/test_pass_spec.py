"""Pipelines as text."""

import enum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcc.ir import UserError
from mcc.passes import (
    PASSES,
    Canonicalize,
    Dce,
    Pass,
    Prune,
    format_pass,
    parse_passes,
    pipeline,
    pipeline_for,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Everything(Pass, name="test-everything"):
    """One option of every kind."""

    count: int = 3
    share: float = 0.5
    fast: bool = False
    label: str = "plain"
    file: Path = Path("a.npz")
    colour: Colour = Colour.RED
    mode: Literal["one", "two"] = "one"
    sizes: tuple[int, ...] = ()
    pair: tuple[str, float] = ("a", 1.0)
    limit: int | None = None
    note: str | None = None


def test_passes_and_options_are_read() -> None:
    passes = parse_passes("canonicalize, prune{sparsity=0.75, structure=channel},dce")
    assert passes == (Canonicalize(), Prune(sparsity=0.75, structure="channel"), Dce())


def test_an_empty_text_is_no_passes() -> None:
    assert parse_passes("") == ()
    assert parse_passes("dce{}") == (Dce(),)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("count=0x10", Everything(count=16)),
        ("share=1e-3", Everything(share=1e-3)),
        ("share=inf", Everything(share=float("inf"))),
        ("fast=true", Everything(fast=True)),
        ("label=1.5", Everything(label="1.5")),
        ('label="a, {b} = \\"c\\""', Everything(label='a, {b} = "c"')),
        ("file=../data/calibration-1.npz", Everything(file=Path("../data/calibration-1.npz"))),
        ("file=/C:/x y", None),
        ("colour=blue", Everything(colour=Colour.BLUE)),
        ("mode=two", Everything(mode="two")),
        ("sizes=(1,2,3)", Everything(sizes=(1, 2, 3))),
        ("sizes=[]", Everything()),
        ("sizes=4", Everything(sizes=(4,))),
        ("pair=(b,2)", Everything(pair=("b", 2.0))),
        ("limit=none note=none", Everything()),
        ('limit=7 note="none"', Everything(limit=7, note="none")),
        ("limit=7,count=1", Everything(limit=7, count=1)),
    ],
)
def test_each_kind_of_option_is_read(options: str, expected: Everything | None) -> None:
    text = f"test-everything{{{options}}}"
    if expected is None:
        with pytest.raises(UserError, match="`=` and a value of 'y'"):
            parse_passes(text)
    else:
        assert parse_passes(text) == (expected,)


def test_a_pass_prints_the_options_that_differ() -> None:
    assert str(Everything()) == "test-everything"
    made = Everything(count=1, label="two words", note="none", sizes=(1,), colour=Colour.BLUE)
    assert format_pass(made) == (
        'test-everything{count=1 label="two words" colour=blue sizes=(1) note="none"}'
    )


@given(
    st.builds(
        Everything,
        count=st.integers(),
        share=st.floats(allow_nan=False),
        fast=st.booleans(),
        label=st.text(),
        file=st.text("abc./ ", min_size=1).map(Path),
        colour=st.sampled_from(Colour),
        mode=st.sampled_from(["one", "two"]),
        sizes=st.lists(st.integers()).map(tuple),
        pair=st.tuples(st.text(), st.floats(allow_nan=False)),
        limit=st.none() | st.integers(),
        note=st.none() | st.text(),
    )
)
def test_what_is_printed_reads_back(made: Everything) -> None:
    assert parse_passes(f"dce,{made},dce") == (Dce(), made, Dce())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canonicalise", "unknown pass 'canonicalise'\n  did you mean 'canonicalize'? known: "),
        ("dce{now=1}", "pass dce: no option 'now'\n  dce has no options"),
        ("prune{spars=1}", "pass prune: no option 'spars'\n  known: sparsity (float), structure "),
        ("prune{sparsity=half}", "option sparsity must be float, not 'half'"),
        ('prune{sparsity="0.5"}', "option sparsity must be float, not '0.5'"),
        ("prune{sparsity=(1,2)}", "option sparsity must be float, not ('1', '2')"),
        ("prune{sparsity=1.5}", "pass prune: sparsity must be between 0 and 1, not 1.5"),
        ("prune{structure=row}", "option structure must be element | channel | row16 | block16,"),
        ("test-everything{fast=1}", "option fast must be true or false, not '1'"),
        ("test-everything{sizes=(1,x)}", "option sizes must be (int, …), not ('1', 'x')"),
        ("test-everything{pair=(a)}", "option pair must be (str, float)"),
        ("test-everything{limit=x}", "option limit must be int | none"),
        ("dce dce", "a comma between passes is expected here\n  dce dce\n      ^"),
        ("dce,,dce", "the name of a pass is expected here\n  dce,,dce\n      ^"),
        ("prune{sparsity}", "`=` and a value of 'sparsity' are expected here\n"),
        ("prune{sparsity=", "a value is expected here"),
        ("prune{sparsity=1 sparsity=1}", "option 'sparsity' is given twice"),
        ("prune{", "the name of an option or `}` is expected here"),
        ('dce{a="x', "a quote is not closed\n"),
        ('prune{structure="\\q"}', "not a JSON string"),
    ],
)
def test_a_mistake_is_shown_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_passes(text)
    assert message in str(caught.value)


def test_two_passes_cannot_have_one_name() -> None:
    with pytest.raises(TypeError, match="two passes are called 'dce'"):
        type("Again", (Pass,), {"__annotations__": {}}, name="dce")
    assert PASSES["dce"] is Dce


def test_a_level_stands_for_its_passes_in_a_pipeline() -> None:
    assert pipeline_for("O2", 0) == pipeline(2)
    assert pipeline_for("O2,prune{sparsity=0.5}", 0) == (*pipeline(2), Prune(sparsity=0.5))
    assert pipeline_for("dce, O1 ,dce", 0) == (Dce(), *pipeline(1), Dce())
    assert pipeline_for("O0,dce", 2) == (Dce(),)
    assert pipeline_for("", 2) == ()
    assert pipeline_for(None, 2) == pipeline(2)
    with pytest.raises(UserError, match="O7"):
        pipeline_for("O7,dce", 0)
