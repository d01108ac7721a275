"""Experiments, each with its command, machine, hours and result.

``python -m experiments`` measures the networks that come with the package (``networks``), studies the temperature
(``temperature``) and writes ``docs/results.md`` (``report``). The other experiments are run on their own:
``python -m experiments.compare``, ``python -m experiments.downsampling``, ``python -m experiments.ship``.
"""
