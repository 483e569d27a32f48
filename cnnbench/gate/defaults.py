"""Defaults of a gate: models, threshold, budget, threads; apart from the rest, because `--help` shows them."""

from __future__ import annotations

# Time for the first measurement. Twice that, for all of it may be measured once more, and the starts of workers stay
# within four minutes. Our choice.
DEFAULT_MODELS = ("lenet", "multilayer_cnn", "mobilenet_v2")
DEFAULT_THRESHOLD = 0.05
DEFAULT_BUDGET_S = 100.0

# Threads of a cell. Other work on the machine then has cores of its own, and a sample whose thread did not have its
# core all the time is seen and rejected; several threads wait for each other whenever one of them is disturbed: beside
# other work, passes of 0.04 ms with two threads on two cores went up to 8 ms. Our choice.
DEFAULT_THREADS = 1
