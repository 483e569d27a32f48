"""A gate: does a change make a model slower? Measured side by side, judged by its interval, written for CI."""
