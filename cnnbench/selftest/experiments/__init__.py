"""The experiments, one file each, named for what it shows."""
