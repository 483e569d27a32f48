"""Timing of a sample: the loop, warm-up, affinity, heap, idling, the control workload."""
