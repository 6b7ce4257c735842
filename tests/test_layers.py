"""Imports go down the layers, never up or sideways, and name a package rather than its files."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES: frozenset[str] = frozenset(SETUPTOOLS["packages"])

# What each layer may import. A layer's own packages import each other relatively; a backend is a
# layer of its own above `mcc.backends`, so that none leans on another.
MAY_IMPORT: dict[str, set[str]] = {
    "mcc.ir": set(),
    "mcc.ops": {"mcc.ir"},
    "mcc.frontend": {"mcc.ir", "mcc.ops"},
    "mcc.passes": {"mcc.ir", "mcc.ops"},
    "mcc.runtime": {"mcc.ir", "mcc.ops"},
    "mcc.backends": {"mcc.ir", "mcc.ops", "mcc.passes", "mcc.runtime"},
}
for _package in PACKAGES:
    if _package.startswith("mcc.backends.") and _package.count(".") == 2:
        MAY_IMPORT[_package] = MAY_IMPORT["mcc.backends"] | {"mcc.backends"}
MAY_IMPORT["mcc"] = set(MAY_IMPORT)

# Libraries that only some layers may know.
ONLY_IN: dict[str, set[str]] = {
    "click": {"mcc"},
    "onnx": {"mcc.frontend", "mcc.backends.onnx", "mcc"},
    "onnxruntime": {"mcc"},
    "rich": {"mcc"},
    "tvm": {"mcc.backends.cpu"},
    "tvm_ffi": {"mcc.backends.cpu"},
}
LEAF = {"mcc.ir": {"lark", "ml_dtypes", "numpy", "safetensors"}}


def layer_of(module: str) -> str:
    """The layer that holds `module`: the longest name in MAY_IMPORT that it starts with."""
    parts = module.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(prefix for prefix in prefixes if prefix in MAY_IMPORT)


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str, bool]]:
    """Line, absolute name and relativeness of each import in `tree`, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            source = node.module or ""
            # `from mcc import passes` imports mcc.passes; `from mcc.ir import Op` imports mcc.ir.
            for name in (f"{source}.{alias.name}" for alias in node.names):
                yield node.lineno, name if name in PACKAGES else source, False
        elif isinstance(node, ast.ImportFrom):
            up = node.level - 1 if is_package else node.level
            base = module.split(".")
            anchor = base[: len(base) - up]
            for alias in node.names:
                stem = [*anchor, *(node.module or "").split(".")] if node.module else anchor
                name = ".".join([*stem, alias.name])
                yield node.lineno, name if name in PACKAGES else ".".join(stem), True


def complaint(module: str, name: str, *, relative: bool) -> str | None:
    """What is wrong with `module` importing `name`, or None."""
    layer = layer_of(module)
    if name.split(".")[0] != "mcc":
        return outside_complaint(layer, name)
    target = layer_of(name)
    if target == layer:
        # The type checkers read compiler/__init__.py through a link, with no neighbour beside it.
        if relative or "mcc" in (name, module):
            return None
        return f"imports {name}: inside a layer, relatively"
    if target not in MAY_IMPORT[layer]:
        return f"imports {name}: {layer} lies below {target} or beside it"
    if relative and not layer.startswith(f"{target}."):
        return f"imports {name} relatively: between layers, write `from {target} import …`"
    if not relative and name not in PACKAGES:
        return f"imports {name}: from the package {target}, not from its files"
    return None


def outside_complaint(layer: str, name: str) -> str | None:
    """What is wrong with a module of `layer` importing `name` from outside mcc, or None."""
    library = name.split(".")[0]
    if layer in LEAF and library in ONLY_IN and library not in LEAF[layer]:
        return f"imports {library}: {layer} knows {', '.join(sorted(LEAF[layer]))} only"
    rule = name if name in ONLY_IN else library
    if rule in ONLY_IN and layer not in ONLY_IN[rule]:
        return f"imports {name}: only {', '.join(sorted(ONLY_IN[rule]))} may"
    return None


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """The complaints about the file `module` with the text `source`, each with its line."""
    return [
        f"{line}: {problem}"
        for line, name, relative in imports(ast.parse(source), module, is_package=is_package)
        if (problem := complaint(module, name, relative=relative)) is not None
    ]


def sources() -> Iterator[tuple[Path, str]]:
    """Every source file of mcc and its module name."""
    folders: dict[str, str] = SETUPTOOLS["package-dir"]
    for package, folder in folders.items():
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            inner = path.relative_to(REPOSITORY / folder).with_suffix("").parts
            parts = inner[:-1] if inner[-1] == "__init__" else inner
            yield path, ".".join([package, *parts])


def test_every_import_goes_down() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{problem}"
        for path, module in sources()
        for problem in violations(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("mcc.ir.core", "from mcc.ops import Conv", "mcc.ir lies below mcc.ops"),
        ("mcc.ir.core", "import rich", "mcc.ir knows lark"),
        ("mcc.passes.fuse", "import mcc.frontend", "mcc.passes lies below mcc.frontend or beside"),
        ("mcc.passes.fuse", "def f():\n    from mcc import runtime", "2: imports mcc.runtime"),
        ("mcc.passes.fuse", "from mcc.passes.dce import Dce", "inside a layer, relatively"),
        ("mcc.passes.fuse", "from mcc.ir.core import Op", "from the package mcc.ir"),
        ("mcc.ops.conv", "from ..ir import Op", "write `from mcc.ir import …`"),
        ("mcc.runtime.session", "import mcc.backends.cpu", "mcc.runtime lies below"),
        ("mcc.runtime.session", "import tvm", "only mcc.backends.cpu may"),
        ("mcc.backends.cpu.emit", "from mcc.backends.onnx import export", "or beside it"),
        ("mcc.backends.cpu.emit", "from ..onnx import export", "or beside it"),
        ("mcc.passes.fuse", "import onnx.helper", "only mcc, mcc.backends.onnx, mcc.frontend may"),
        ("mcc.driver", "from .passes import Pass", "relatively"),
    ],
)
def test_a_wrong_import_is_named(module: str, source: str, expected: str) -> None:
    (found,) = violations(source, module)
    assert expected in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mcc.ir.core", "import numpy\nfrom .types import Tensor"),
        ("mcc.runtime.simulator.run", "from ..isa import Instruction\nfrom mcc.ops import Conv"),
        ("mcc.runtime.session", "from .simulator import simulate\nimport ctypes"),
        ("mcc.backends.cpu.emit", "from .. import Target\nfrom mcc.runtime.isa import Instruction"),
        ("mcc.driver", "from .plugins import load\nfrom mcc.backends import cpu\nimport mcc"),
        ("mcc.backends.cpu.emit", "import tvm\nfrom mcc.passes import Pass"),
    ],
)
def test_a_right_import_is_let_through(module: str, source: str) -> None:
    assert violations(source, module) == []
