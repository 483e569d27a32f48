"""What happens around a sample: the timed loop, warm-up, affinity, heap, idling, the control workload."""
