"""Benchmarks of keras_coda; run ``python -m benchmarks`` from the root of the repository.

``speed`` holds what this command runs. ``runtimes`` and ``serving`` are run on their own; their results are in
``SERVING.md``.
"""
