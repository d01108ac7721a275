"""Training and measurements on a machine with a GPU that has JAX, but not TensorFlow: ``python -m benchmarks.gpu``.

``GPU.md`` in the folder above says how to run it. Nothing here imports TensorFlow.
"""
