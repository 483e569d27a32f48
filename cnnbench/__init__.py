"""cnnbench: benchmark and compare PyTorch image classifiers."""
