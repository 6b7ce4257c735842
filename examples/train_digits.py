"""Train the digit classifier that ships with mcc, and write `digits.onnx` and its two data files.

    pip install torch==2.13.0 onnx scikit-learn
    python examples/train_digits.py

The data are the 1,797 handwritten digits that come inside scikit-learn (`load_digits`): 8 x 8
pixels with values from 0 to 16. 500 of them are held out for testing; none of those is trained on
or used for calibration. Half a minute on one core; the seeds are fixed, so that the same
versions on the same kind of machine give the same model.
"""

import random
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

FOLDER = Path(__file__).parent
SEED = 0
EPOCHS = 40
BATCH = 64
SAMPLES = 64
CALIBRATION = 128
GOAL = 0.97

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


class ConvNorm(nn.Sequential):
    """A convolution without bias, then batch normalization."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Residual(nn.Module):
    """relu(x + two convolutions of x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class Digits(nn.Module):
    """Pixels from 0 to 16 of shape (n, 1, 8, 8) to ten logits; 22,000 parameters.

    It is small, and still has one of each thing that a compiler should be seen to handle: a plain
    convolution, a residual block, a max-pool, a depthwise and a pointwise convolution, a global
    average pool and a dense layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 32)
        self.residual = Residual(32)
        self.pool = nn.MaxPool2d(2)
        self.depthwise = ConvNorm(32, 32, groups=32)
        self.pointwise = ConvNorm(32, 64, size=1)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = functional.relu(self.stem(image))
        x = self.pool(self.residual(x))
        x = functional.relu(self.depthwise(x))
        x = functional.relu(self.pointwise(x))
        return self.classify(torch.flatten(self.average(x), 1))


def fix_seeds() -> None:
    """Make every run draw the same numbers and add them in the same order."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)


def split() -> tuple[Images, Images, Labels, Labels]:
    """Training images, test images (n, 1, 8, 8), training labels, test labels (n,)."""
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=500, stratify=labels, random_state=SEED
    )
    return train, test, train_labels, test_labels


def shifted(images: Tensor) -> Tensor:
    """Each image moved by at most one pixel in each direction, so that place matters less."""
    padded = functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2)).tolist()
    return torch.stack(
        [image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, moves, strict=True)]
    )


def fit(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Train in place."""
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    model.train()
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(
                model(shifted(images[chosen])), labels[chosen], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / len(images):.4f}", flush=True)
    model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is the label's."""
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def export(model: nn.Module, path: Path) -> None:
    """Write `model` as ONNX, opset 17, for any batch size; batch normalization stays as it is."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 8, 8),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,  # it would change the running statistics
        dynamo=False,  # the newer exporter starts at opset 18 and folds batch normalization
    )


def main() -> int:
    """Train, test, and write the three files; the exit status says whether the goal was met."""
    fix_seeds()
    train, test, train_labels, test_labels = split()
    model = Digits()
    fit(model, torch.from_numpy(train), torch.from_numpy(train_labels))
    reached = accuracy(model, torch.from_numpy(test), torch.from_numpy(test_labels))
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count} parameters, {reached:.1%} of {len(test)} test images right")
    if reached < GOAL:
        print(f"that is less than {GOAL:.0%}; nothing was written", file=sys.stderr)
        return 1
    export(model, FOLDER / "digits.onnx")
    np.savez_compressed(
        FOLDER / "digits_samples.npz", image=test[:SAMPLES], label=test_labels[:SAMPLES]
    )
    np.savez_compressed(FOLDER / "digits_calibration.npz", image=train[:CALIBRATION])
    return 0


if __name__ == "__main__":
    sys.exit(main())
