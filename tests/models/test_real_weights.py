"""Weights from a file, on photographs: needs the folder that CNNBENCH_DATA names, with `weights` and `PetImages`."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnbench.models import find_model
from cnnbench.models.weights import load_weights

DATA = Path(os.environ.get("CNNBENCH_DATA", "missing"))
DOGS = range(151, 269)  # ImageNet's classes from Chihuahua to Mexican hairless

pytestmark = pytest.mark.data


def photograph(path: Path) -> torch.Tensor:
    """Return a photograph as ImageNet's models see it, (1, 3, 224, 224)."""
    with Image.open(path) as opened:
        pixels = np.array(opened.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    small = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (small - mean[:, None, None]) / std[:, None, None]


def test_weights_from_a_file_know_dogs() -> None:
    spec = find_model("mobilenet_v2")
    model = spec.build().eval()
    load_weights(model, spec, str(DATA / "weights" / "mobilenet_v2-keras-int8-dequant-tvnorm.pth"))
    images = sorted((DATA / "PetImages" / "Dog").glob("*.jpg"))[:40]
    with torch.no_grad():
        found = [int(model(photograph(path)).argmax()) for path in images]
    assert len(found) == 40
    assert sum(label in DOGS for label in found) >= 30  # 59 of 60 with the usual resize and crop
