"""What `cnnbench show` draws: of datasets and trainings, and of models."""
