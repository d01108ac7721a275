"""Answers can be written as JSON, whatever the order of their arrays in memory."""

import numpy as np
import pytest

from keras_coda.exporters import schema
from keras_coda.server.bodies import read_v1, write_v1

orjson = pytest.importorskip("orjson")


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_arrays_in_any_order_of_memory_become_json(verb, form):
    images = np.zeros((2, 2, 3, 1)).tolist()
    asked = read_v1({"instances": images} if form == "instances" else {"inputs": {"images": images}}, verb)
    outputs = {name: np.arange(6.0).reshape(3, 2).T for name in schema.PREDICTIONS}
    outputs["contributions"] = np.moveaxis(np.arange(24.0).reshape(3, 4, 1, 2), -1, 0)
    found = orjson.loads(orjson.dumps(write_v1(outputs, asked, verb), option=orjson.OPT_SERIALIZE_NUMPY))
    rows = found["outputs"] if form == "inputs" else found[{"predict": "predictions", "explain": "explanations"}[verb]]
    maps = rows["contributions"] if form == "inputs" else [row["contributions"] for row in rows]
    np.testing.assert_array_equal(maps, outputs["contributions"])
