"""What keras_coda costs, measured: run ``python -m benchmarks`` from the root of the repository."""
