"""Sentences and tables of a report, for all formats."""
