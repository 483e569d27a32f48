"""Inspect all of a model but its speed and its accuracy: counts, memory, numerical error, layers, its inside."""
