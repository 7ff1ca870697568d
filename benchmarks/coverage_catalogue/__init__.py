"""What `benchmarks/coverage.py` exports: cases as data, one file for each group."""
