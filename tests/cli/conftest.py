"""What tests of the command line share."""

from tests.app.conftest import pretend

__all__ = ["pretend"]
