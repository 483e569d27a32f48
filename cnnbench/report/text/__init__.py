"""A report in sentences and tables, for all formats."""
