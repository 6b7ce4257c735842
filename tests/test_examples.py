"""The model and data files that ship in examples/ are what its README says."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from reference import onnxruntime_outputs


def samples(examples: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(examples / "digits_samples.npz") as file:
        return file["image"], file["label"]


def test_onnxruntime_reads_all_64_samples_right(examples: Path) -> None:
    image, label = samples(examples)
    assert image.shape == (64, 1, 8, 8)
    assert set(label.tolist()) == set(range(10))
    (logits,) = onnxruntime_outputs(examples / "digits.onnx", {"image": image})
    assert np.argmax(logits, axis=1).tolist() == label.tolist()


def test_model_has_a_symbolic_batch_and_unfolded_batch_norms(examples: Path) -> None:
    model = onnx.load(examples / "digits.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 1, 8, 8]
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Conv") == operators.count("BatchNormalization") == 5


def test_no_sample_is_among_the_calibration_inputs(examples: Path) -> None:
    image, _ = samples(examples)
    with np.load(examples / "digits_calibration.npz") as file:
        assert file.files == ["image"]
        calibration: NDArray[np.float32] = file["image"]
    assert calibration.shape == (128, 1, 8, 8)
    assert calibration.dtype == image.dtype == np.float32
    assert (calibration.min(), calibration.max()) == (0, 16)
    assert not {x.tobytes() for x in image} & {x.tobytes() for x in calibration}
