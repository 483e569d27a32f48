"""Gate a change in CI: measure it and its base in turns, and judge each slowdown by its interval."""
