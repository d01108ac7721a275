"""The command line of keras_coda.

It lies beside the package because importing ``keras_coda`` imports TensorFlow, which takes seconds: here help is shown,
and wrong arguments are refused, before that. One file is one command, see :mod:`keras_coda_cli.main`. At module level
nothing here imports keras_coda, Keras, NumPy or TensorFlow.
"""
