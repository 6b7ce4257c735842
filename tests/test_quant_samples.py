"""Calibration samples: what is read from where, and every message for what cannot be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcc.ir import DType, Module, Region, Tensor, UserError, Yield
from mcc.passes.quantization import load_samples, synthetic_samples


def module_with(**inputs: Tensor) -> Module:
    region = Region(list(inputs.values()), list(inputs))
    region.append(Yield(tuple(region.args)))
    return Module("m", region, list(inputs))


IMAGE = module_with(image=Tensor(DType.F32, (1, 4, 4, 3)))
PAIR = module_with(num=Tensor(DType.F32, (1, 6)), cat=Tensor(DType.I64, (1, 8)))


def written(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_array_under_the_inputs_name_is_one_sample_a_row(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((5, 4, 4, 3)).astype(np.float32)
    path = written(tmp_path / "s.npz", image=images, y=np.arange(5))
    feeds = list(load_samples(IMAGE, path))
    assert len(feeds) == 5
    assert feeds[2]["image"].shape == (1, 4, 4, 3)
    np.testing.assert_array_equal(feeds[2]["image"][0], images[2])


def test_a_batch_axis_in_each_sample_is_fine(tmp_path: Path) -> None:
    path = written(tmp_path / "s.npz", image=np.zeros((5, 1, 4, 4, 3), np.float32))
    assert [feed["image"].shape for feed in load_samples(IMAGE, path)] == [(1, 4, 4, 3)] * 5


def test_a_fixed_batch_takes_whole_batches(tmp_path: Path) -> None:
    module = module_with(image=Tensor(DType.F32, (2, 3)))
    path = written(tmp_path / "s.npz", image=np.arange(15, dtype=np.float32).reshape(5, 3))
    feeds = list(load_samples(module, path))
    assert [feed["image"].shape for feed in feeds] == [(2, 3)] * 2


def test_an_array_of_the_inputs_shape_is_one_sample(tmp_path: Path) -> None:
    module = module_with(none=Tensor(DType.F32, (0, 3)), alone=Tensor(DType.F32, ()))
    path = written(tmp_path / "s.npz", none=np.zeros((0, 3), "f4"), alone=np.float32(2))
    (feed,) = load_samples(module, path)
    assert feed["none"].shape == (0, 3)
    assert feed["alone"] == 2


def test_a_batch_of_none_has_no_samples_elsewhere(tmp_path: Path) -> None:
    module = module_with(none=Tensor(DType.F32, (0, 3)))
    path = written(tmp_path / "s.npz", none=np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match="does not fit its input"):
        load_samples(module, path)


def test_the_only_array_that_fits_is_taken_with_a_note(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    path = written(tmp_path / "s.npz", photos=images, label=np.arange(5), other=np.zeros((3, 3)))
    notes: list[str] = []
    feeds = list(load_samples(IMAGE, path, notes.append))
    assert feeds[0]["image"].dtype == np.float32
    np.testing.assert_array_equal(feeds[4]["image"][0], images[4])
    assert notes == [f"{path}: array 'photos' is taken for input 'image'"]


def test_several_inputs_come_by_name(tmp_path: Path) -> None:
    path = written(
        tmp_path / "s.npz", num=np.zeros((4, 6), np.float64), cat=np.ones((4, 8), np.int32)
    )
    feeds = list(load_samples(PAIR, path))
    assert len(feeds) == 4
    assert (feeds[0]["num"].dtype, feeds[0]["cat"].dtype) == (
        np.dtype(np.float32),
        np.dtype(np.int64),
    )


def test_a_folder_holds_one_file_a_sample(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full((4, 4, 3), i, np.uint8))
    assert [feed["image"][0, 0, 0, 0] for feed in load_samples(IMAGE, tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize("nested", [True, False])
def test_a_folder_with_several_inputs(tmp_path: Path, nested: bool) -> None:
    for name, shape in (("num", (1, 6)), ("cat", (8,))):
        for i in range(3):
            path = tmp_path / name / f"{i}.npy" if nested else tmp_path / f"{name}_{i:03}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.full(shape, i, np.int64))
    feeds = list(load_samples(PAIR, tmp_path))
    assert [(feed["num"][0, 0], feed["cat"][0, 0]) for feed in feeds] == [(0, 0), (1, 1), (2, 2)]


def message(module: Module, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(load_samples(module, path))
    return str(caught.value)


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    text = message(IMAGE, tmp_path / "nowhere.npz")
    assert "nowhere.npz: no such file of samples" in text
    assert "give an .npz with one array for each input, or a folder of .npy files" in text


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 truncated"])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    text = message(IMAGE, path)
    assert "bad.npz: not a readable .npz file" in text
    assert "numpy.savez" in text


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "that is an .npy file" in message(IMAGE, tmp_path / "x.npy")


def test_no_array_fits(tmp_path: Path) -> None:
    path = written(tmp_path / "s.npz", a=np.zeros((5, 8, 8, 3)), y=np.zeros(5, np.int64))
    text = message(IMAGE, path)
    assert "no array fits input 'image'" in text
    assert "the file's arrays: a float64[5, 8, 8, 3], y int64[5]" in text
    assert "the model's inputs: image f32[1,4,4,3]" in text


def test_the_right_name_with_the_wrong_shape(tmp_path: Path) -> None:
    path = written(tmp_path / "s.npz", image=np.zeros((5, 3, 4, 4)))
    assert "array 'image' does not fit its input" in message(IMAGE, path)


def test_two_arrays_that_could_be_the_input(tmp_path: Path) -> None:
    images = np.zeros((5, 4, 4, 3), np.float32)
    path = written(tmp_path / "s.npz", test=images, train=images)
    assert "several arrays could be input 'image': 'test', 'train'" in message(IMAGE, path)


def test_inputs_with_different_numbers_of_samples(tmp_path: Path) -> None:
    path = written(tmp_path / "s.npz", num=np.zeros((4, 6)), cat=np.zeros((5, 8), np.int64))
    assert "different numbers of samples: num 4, cat 5" in message(PAIR, path)


def test_text_and_integers_out_of_range_do_not_fit(tmp_path: Path) -> None:
    module = module_with(x=Tensor(DType.I8, (1, 2)))
    path = written(tmp_path / "s.npz", x=np.full((3, 2), 200))
    assert "array 'x' does not fit its input" in message(module, path)


def test_an_empty_folder(tmp_path: Path) -> None:
    text = message(IMAGE, tmp_path)
    assert "the folder has no samples of input 'image'" in text
    assert "one .npy file for each sample" in text


def test_a_folder_with_unequal_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "num_0.npy", np.zeros(6))
    np.save(tmp_path / "num_1.npy", np.zeros(6))
    np.save(tmp_path / "cat_0.npy", np.zeros(8, np.int64))
    assert "different numbers of samples: num 2, cat 1" in message(PAIR, tmp_path)


def test_a_file_of_another_shape_in_a_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.zeros((3, 4, 4)))
    text = message(IMAGE, tmp_path)
    assert "this sample is float64[3, 4, 4], input 'image' is f32[1,4,4,3]" in text


def test_a_damaged_file_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "0.npy").write_bytes(b"junk")
    assert "0.npy: not a readable .npy file" in message(IMAGE, tmp_path)


def test_synthetic_samples_repeat_and_span_the_range() -> None:
    first = list(synthetic_samples(IMAGE, (-2.0, 3.0), count=4, seed=7))
    again = list(synthetic_samples(IMAGE, (-2.0, 3.0), count=4, seed=7))
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    stacked = np.stack([feed["image"] for feed in first])
    assert stacked.dtype == np.float32
    assert (float(stacked.min()), float(stacked.max())) == (-2.0, 3.0)
    assert {feed["cat"].dtype for feed in synthetic_samples(PAIR)} == {np.dtype(np.int64)}
