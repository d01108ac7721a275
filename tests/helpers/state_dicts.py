"""State dicts in the format of the authors of B-cos networks, and files of safetensors."""

import json

import numpy as np


def state_of(layers, make=None):
    """Return a state dict with random weights.

    Args:
        layers: shapes of the weights by layer, as `resnet_layers` returns them.
        make: function of a shape that makes an array; by default of random numbers.
    """
    rng = np.random.default_rng(0)
    make = make or (lambda shape: rng.uniform(0.5, 1.5, shape).astype("float32"))
    state = {}
    for name, shapes in layers.items():
        if len(shapes) == 1:
            height, width, channels, filters = shapes[0]
            state[f"{name}.linear.weight"] = make((filters, channels, height, width)) - np.float32(1)
        else:
            state |= {f"{name}.{entry}": make(shapes[0]) for entry in ("weight", "running_mean", "running_var")}
            state[f"{name}.num_batches_tracked"] = np.array(7)
    return state


def safetensors(state, dtypes=None, **changes):
    """Return the content of a `.safetensors` file of arrays; ``changes`` replace what the header says of one."""
    names = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for key, value in state.items():
        start, data = len(data), data + value.tobytes()
        kind = (dtypes or {}).get(key) or names[value.dtype.name]
        header[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [start, len(data)]}
    header |= {key: {**header[key], **change} for key, change in changes.items()}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
