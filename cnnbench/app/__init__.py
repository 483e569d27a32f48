"""What the ways in share: the command line, Python and pytest use it, and none of them uses another."""
