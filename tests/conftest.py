"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

# As the command line does it, before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from zoo import Zoo, shared_folder

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds pyproject.toml."""
    return REPOSITORY


@pytest.fixture(scope="session")
def examples(repository: Path) -> Path:
    """The folder with the model, samples and calibration inputs that ship with mcc."""
    return repository / "examples"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger models and recorded hardware runs, beside the repository."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("needs the folder `shared` beside the repository, which is not here")
    return folder


@pytest.fixture(scope="session")
def zoo(shared: Path) -> Zoo:
    """The trained models and their data: `zoo.model("ic_resnet8")`, `zoo.data("mnist")`."""
    return Zoo(shared / "zoo")
