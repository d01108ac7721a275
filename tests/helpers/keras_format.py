"""A file format for tests: Keras itself is the runtime, and the file holds the number of a network in this process."""

import numpy as np

NETWORKS = []


def convert(network, *, classes=False):
    NETWORKS.append((network, classes))
    return str(len(NETWORKS) - 1).encode()


def run(content, inputs):
    network, classes = NETWORKS[int(content)]
    given = {name: inputs[name] for name in ("images", "classes") if name == "images" or classes}
    outputs = {name: np.asarray(value) for name, value in network.explain(**given).items()}
    return {"contributions": {**given, **outputs}}
