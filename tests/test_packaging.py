"""Every source folder is installed, typed, and shown to the type checkers."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PYPROJECT["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
SIBLINGS = {package: folder for package, folder in FOLDERS.items() if package != "mcc"}
# Folders at the top that hold Python and are not part of the package.
NOT_INSTALLED = {"benchmarks", "docs", "examples", "tests"}
NOT_DATA = {".py", ".pyc", ".nbi", ".nbc"}  # sources, and what Python and numba cache beside them


def packages_on_disk() -> dict[str, Path]:
    """Each folder with Python files inside a mapped folder, by its package name."""
    found: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        top = REPOSITORY / folder
        for path in top.rglob("*.py"):
            name = ".".join([package, *path.parent.relative_to(top).parts])
            found[name] = path.parent
    return found


def test_every_folder_at_the_top_is_mapped() -> None:
    tops = {path.parent.name for path in REPOSITORY.glob("[!.]*/__init__.py")} - NOT_INSTALLED
    missing = sorted(tops - set(FOLDERS.values()))
    lines = [f'"mcc.{folder}" = "{folder}"' for folder in missing]
    assert not missing, f"add to [tool.setuptools.package-dir] in pyproject.toml: {lines}"


def test_every_folder_is_packaged() -> None:
    missing = sorted(set(packages_on_disk()) - set(SETUPTOOLS["packages"]))
    assert not missing, f"add to [tool.setuptools] packages in pyproject.toml: {missing}"


def test_every_package_exists() -> None:
    stale = sorted(set(SETUPTOOLS["packages"]) - set(packages_on_disk()))
    assert not stale, f"remove from [tool.setuptools] packages in pyproject.toml: {stale}"


def test_every_package_has_an_init() -> None:
    missing = [
        str((folder / "__init__.py").relative_to(REPOSITORY))
        for folder in packages_on_disk().values()
        if not (folder / "__init__.py").is_file()
    ]
    assert not missing, f"add {missing}, each with a docstring"


def is_package_data(path: Path) -> bool:
    """Whether a pattern of [tool.setuptools.package-data] takes `path` into its package."""
    patterns: dict[str, list[str]] = SETUPTOOLS["package-data"]
    homes = {folder: package for package, folder in packages_on_disk().items()}
    folder = next(parent for parent in path.parents if parent in homes)
    inner = path.relative_to(folder)
    return any(
        len(inner.parts) == len(Path(pattern).parts) and inner.match(pattern)
        for pattern in [*patterns["*"], *patterns.get(homes[folder], [])]
    )


def test_every_other_file_is_package_data() -> None:
    missing = sorted(
        str(path.relative_to(REPOSITORY))
        for folder in FOLDERS.values()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and path.suffix not in NOT_DATA and not is_package_data(path)
    )
    assert not missing, f"add to [tool.setuptools.package-data] in pyproject.toml: {missing}"


def test_every_mapped_folder_says_that_it_is_typed() -> None:
    folders = [REPOSITORY / folder for folder in FOLDERS.values()]
    missing = [folder.name for folder in folders if not (folder / "py.typed").is_file()]
    assert not missing, f"add an empty py.typed to {missing}"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("compiler/mcc", "compiler"),
        ("siblings/mcc/__init__.py", "compiler/__init__.py"),
        *((f"siblings/{package.replace('.', '/')}", SIBLINGS[package]) for package in SIBLINGS),
    ],
)
def test_type_checkers_see_every_mapped_folder(link: str, target: str) -> None:
    path = REPOSITORY / ".pythonpath" / link
    to = "/".join([".."] * len(Path(link).parts) + [target])
    remedy = f"ln -s {to} .pythonpath/{link}"
    assert path.is_symlink(), f"run: {remedy}"
    assert str(path.readlink()) == to, f"remove .pythonpath/{link} and run: {remedy}"


def test_type_checkers_check_every_mapped_folder() -> None:
    mypy: list[str] = PYPROJECT["tool"]["mypy"]["files"]
    linked = [f".pythonpath/siblings/{package.replace('.', '/')}" for package in SIBLINGS]
    missing = sorted({".pythonpath/compiler/mcc", *linked} - set(mypy))
    assert not missing, f"add to [tool.mypy] files in pyproject.toml: {missing}"
    pyright: list[str] = PYPROJECT["tool"]["pyright"]["include"]
    missing = sorted(set(FOLDERS.values()) - set(pyright))
    assert not missing, f"add to [tool.pyright] include in pyproject.toml: {missing}"
