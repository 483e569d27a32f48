"""Draw what `cnnbench show` is asked for."""
