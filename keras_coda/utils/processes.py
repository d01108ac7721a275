"""The processes that train one network together, as environment variables name them; the standard library alone."""

import re
from collections.abc import Mapping

# The variables of `keras.distribution.initialize`.
ADDRESSES, COUNT, INDEX = VARIABLES = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
_ADDRESS = re.compile(r"[^,\s]+:\d{1,5}")


def processes(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return how many processes train together, and the number of this one, from 0.

    Args:
        environment: such as ``os.environ``. Without the variables there is one process.

    Raises:
        ValueError: if a variable is missing or wrong.
    """
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if not given:
        return 1, 0
    if len(given) < len(VARIABLES):
        raise ValueError(f"All of {', '.join(VARIABLES)} must be set, or none. {_received(given)}")
    if not (re.fullmatch(r"[1-9]\d*", given[COUNT]) and re.fullmatch(r"\d+", given[INDEX])):
        raise ValueError(f"{COUNT} and {INDEX} must be a number of processes and one from 0. {_received(given)}")
    count, index = int(given[COUNT]), int(given[INDEX])
    if index >= count:
        raise ValueError(f"{INDEX} must be less than {COUNT}: processes are numbered from 0. {_received(given)}")
    addresses = given[ADDRESSES].split(",")
    if len(addresses) not in (1, count) or not all(_ADDRESS.fullmatch(address) for address in addresses):
        rule = f"{ADDRESSES} must be HOST:PORT of process 0, or that of every process with commas between"
        raise ValueError(f"{rule}. {_received(given)}")
    return count, index


def _received(given):
    return f"Received: {', '.join(f'{name}={value}' for name, value in given.items())}."
