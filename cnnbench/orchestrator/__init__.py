"""Cases to records: workers in processes of their own, samples in shuffled blocks, failures that become records."""
