"""The model of `digit_cnn`, which also returns its feature maps; it has its own file because it needs torch."""

from __future__ import annotations

import torch
from torch import nn


class DigitCNN(nn.Module):
    """Two convolutions and two linear layers; `feature_maps` returns the outputs of the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU())  # 4x28x28
        self.pool1 = nn.MaxPool2d(2)  # 4x14x14
        self.stage2 = nn.Sequential(nn.Conv2d(4, 8, 5, padding=2), nn.ReLU())  # 8x14x14
        self.pool2 = nn.MaxPool2d(2)  # 8x7x7

        self.classifier = nn.Sequential(
            nn.Flatten(),  # 392
            nn.Linear(392, 512),  # 512
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(512, 10),  # 10
            nn.LogSoftmax(dim=1),
        )

    def feature_maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both ReLU feature maps of (N, 1, 28, 28) images: (N, 4, 28, 28) and (N, 8, 14, 14)."""
        first = self.stage1(images)
        return first, self.stage2(self.pool1(first))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities (N, 10) of (N, 1, 28, 28) images."""
        scores: torch.Tensor = self.classifier(self.pool2(self.feature_maps(images)[1]))
        return scores
