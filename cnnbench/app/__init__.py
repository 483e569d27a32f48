"""Parts that the command line, the Python API and the pytest plugin share."""
