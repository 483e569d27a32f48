"""What tests of models share."""

import sys

import pytest


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test where model files let this process import from."""
    monkeypatch.setattr(sys, "path", list(sys.path))
