"""Turn cases into records: workers in processes of their own, samples in shuffled blocks, failures as records."""
