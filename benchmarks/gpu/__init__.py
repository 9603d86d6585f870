"""What only a GPU can answer, in pieces of at most eight minutes: see `benchmarks/gpu.sh`."""
