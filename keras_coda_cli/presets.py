"""`keras-coda presets`: the architectures that come with the package."""

import argparse

from keras_coda_cli import checks, common

DESCRIPTION = "List the architectures that come with this package."
EXAMPLE = "keras-coda presets"
USES_TENSORFLOW = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options."""


def check(args: argparse.Namespace) -> None:
    """Check nothing: there are no options."""


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    table = common.load_without_package("models.architectures")
    rows = [("name", "parameters", "input", "trained", "description")]
    for name in table.names():
        size = "x".join("any" if side is None else str(side) for side in table.architecture(name)["input_shape"])
        trained = "yes" if checks.shipped_folder(name) else "no"
        rows.append((name, f"{table.count_parameters(name):,}", size, trained, table.description(name)))
    common.print_table(rows)
