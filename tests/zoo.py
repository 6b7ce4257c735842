"""A collection of trained models and labelled data that may lie beside the repository."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def shared_folder() -> Path | None:
    """The folder `shared` beside the repository, or None where there is none."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Zoo:
    """The models (`*.onnx`), data and sample runs (`*.npz`) below one folder."""

    root: Path

    def model(self, name: str) -> Path:
        """The ONNX file of the model `name`; skips the test when this collection lacks it."""
        return self._existing("models", f"{name}.onnx")

    def data(self, name: str) -> Path:
        """The labelled data set `name`; skips the test when this collection lacks it."""
        return self._existing("data", f"{name}.npz")

    def io(self, name: str) -> Path:
        """Sample inputs of the model `name` and its outputs for them; skips like `model`."""
        return self._existing("io", f"{name}.npz")

    def record(self, name: str) -> dict[str, Any]:
        """What the manifest says of the model `name`: preprocessing, metric, inputs, outputs."""
        manifest = json.loads((self.root / "MANIFEST.json").read_text())
        records: dict[str, dict[str, Any]] = {model["id"]: model for model in manifest["models"]}
        return records[name]

    def _existing(self, folder: str, file: str) -> Path:
        path = self.root / folder / file
        if not path.is_file():
            pytest.skip(f"the model collection has no {folder}/{file}")
        return path
