"""Converted networks whose logits or maps overflow answer NaN; `tests/models/test_finite.py` has the other runtimes."""

import importlib

import numpy as np
import pytest

from keras_coda.exporters import Signatures
from keras_coda.exporters.formats import FORMATS
from keras_coda.exporters.nan_guard import PortableNetwork
from keras_coda.exporters.single_file import example_inputs
from tests.helpers.networks import small

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_that_overflows_answers_nan(format):
    for package in FORMATS[format].required:
        pytest.importorskip(package)
    model = small(filters=(3,), strides=1, rescaling="l2")
    model.set_weights([weights * 1e30 for weights in model.get_weights()])
    network = PortableNetwork(Signatures.of(model))
    module = importlib.import_module(FORMATS[format].module)
    answers = module.run(module.convert(network), example_inputs(network.signatures))
    for arrays in answers.values():
        assert {"logits", "probabilities"} <= set(arrays)
        for name, array in arrays.items():
            if name not in ("images", "classes"):
                assert np.isnan(array).all(), name
