"""What is measured: functions that take a ready network, data and a clock, and return what they saw."""
