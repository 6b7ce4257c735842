"""What may be loaded before there is work to do; the rest would make every command slow."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "onnx", "tvm", "numba", "llvmlite", "torch", "rich", "lark", "pydantic")

# The distributions beyond mcc and the standard library that a command may load.
MAY_LOAD = {
    "import mcc": set[str](),
    "mcc --help": {"click"},
    "mcc --version": {"click"},
}
CODE = {
    "import mcc": "import mcc",
    "mcc --help": "from mcc.cli import main; sys.argv = ['mcc', '--help']; run(main)",
    "mcc --version": "from mcc.cli import main; sys.argv = ['mcc', '--version']; run(main)",
}
# `before` leaves out what the interpreter loads on its own, such as the finder of an editable
# install.
PROGRAM = """
import sys
before = set(sys.modules)
def run(main):
    try:
        main()
    except SystemExit as exit:
        assert not exit.code, exit.code
{code}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - set(sys.stdlib_module_names)), file=sys.stderr)
"""


@pytest.mark.parametrize("command", list(CODE))
def test_only_light_modules_are_loaded(command: str) -> None:
    program = PROGRAM.format(code=CODE[command])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert loaded - MAY_LOAD[command] <= {"mcc"}, f"{command} must not load these"
    assert not loaded & set(HEAVY)


def test_the_public_names_are_there() -> None:
    import mcc

    for name in mcc.__all__:
        assert getattr(mcc, name) is not None
    assert set(mcc.__all__) <= set(dir(mcc))


def test_an_unknown_public_name_is_refused_with_the_known_ones() -> None:
    import mcc

    with pytest.raises(AttributeError, match=r"'mcc' has no 'compil'; it has .*compile"):
        getattr(mcc, "compil")  # noqa: B009 - the name is wrong on purpose


def test_python_m_mcc_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mcc", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "mcc"
