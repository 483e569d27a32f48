"""The experiments, each in a module that is named for what it shows."""
