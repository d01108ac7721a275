"""The command line of keras_coda, outside the package: help and wrong arguments need not wait for TensorFlow."""
