"""What cnnbench's timed loop adds to the smallest model, against torch.utils.benchmark.Timer in one process.

Run it alone on the machine: `python bench/loop_overhead.py`. It prints the ratio of the two medians and how far the
ratios of single rounds spread.
"""

from __future__ import annotations

import statistics

import torch
from torch.utils.benchmark import Timer

from cnnbench.clock import wall_clock
from cnnbench.models import MODELS
from cnnbench.timing.loop import reading_cost_s, shape_sample, take_sample
from cnnbench.timing.warmup import warm_up
from cnnbench.timing.work import InferencePasses, random_inputs

ROUNDS = 200
SMALLEST = "perceptron"


def main() -> None:
    """Alternate samples of both and print the ratio."""
    torch.set_num_threads(1)
    spec = MODELS[SMALLEST]
    model = spec.build().eval()
    inputs = random_inputs((1, *spec.input_shape), seed=0)
    clock = wall_clock()
    with torch.no_grad():
        passes = InferencePasses(model, inputs[:1])  # the Timer has one input as well
        warm = warm_up(passes, clock, first_s=1e-3)
        shape = shape_sample(warm.iteration_s, reading_s=reading_cost_s(clock), asynchronous=False)
        timer = Timer("model(images)", globals={"model": model, "images": inputs[0]}, num_threads=1)
        ours, theirs = [], []
        for at in range(ROUNDS):
            pair = [
                lambda: ours.append(take_sample(passes, shape, clock).sample_s / shape.iterations),
                lambda: theirs.append(timer.timeit(shape.iterations).mean),
            ]
            for measure in pair if at % 2 else reversed(pair):
                measure()
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    low, high = ratios[ROUNDS // 20], ratios[-ROUNDS // 20]
    print(
        f"{SMALLEST}, batch 1, one thread, torch {torch.__version__}, {ROUNDS} alternating rounds of {shape.iterations}"
    )
    medians = [1e6 * statistics.median(times) for times in (ours, theirs)]
    print(f"cnnbench {medians[0]:.3f} us, Timer {medians[1]:.3f} us a pass (medians of means)")
    print(f"ratio {statistics.median(ratios):.4f} (median of rounds; 5 % to 95 %: {low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
