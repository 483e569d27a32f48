"""Defaults of a gate (models, threshold, budget, threads), apart from the rest because `--help` shows them."""

from __future__ import annotations

# The budget is for the first measurement, in seconds. Measuring everything once more takes as long again; together
# with the starts of workers, both stay within four minutes.
DEFAULT_MODELS = ("lenet", "multilayer_cnn", "mobilenet_v2")
DEFAULT_THRESHOLD = 0.05
DEFAULT_BUDGET_S = 100.0

# Threads of a cell. With one, other work on the machine has cores of its own, and a sample is rejected if its thread
# did not have its core all the time. Several threads wait for each other whenever one of them is disturbed: beside
# other work, passes of 0.04 ms with two threads on two cores took up to 8 ms.
DEFAULT_THREADS = 1
