"""A signature is a method and an entry of the schema; everything else follows: here, a contrast of two classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from export import signature_table
from keras_coda import serving
from keras_coda.exporters import Signatures, lint_saved_model, schema, verify_saved_model, warmup
from keras_coda.exporters.schema import Signature, Tensor
from tests.helpers.networks import pixels, small
from tests.helpers.serving_doubles import GrpcDouble, RestDouble
from tests.helpers.serving_helpers import CLIENTS, connect, encoded
from tests.helpers.serving_models import LoadedVersion, Models

pytestmark = pytest.mark.slow

RGB = (8, 7, 3)


def contrast(self, images):
    """Return the two most probable classes, and the difference of their maps."""
    results = self.explain(images)
    maps = results["contributions"]
    return {"classes": results["classes"], "contrast": maps[:, 0] - maps[:, 1]}


ENTRY = Signature(
    schema.IMAGES,
    {**schema.CLASSES, "contrast": Tensor("float32", "BHW", "difference of the maps of two classes, logit units")},
)


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(schema.SIGNATURES, "contrast", ENTRY)
        patch.setattr(Signatures, "contrast", contrast, raising=False)
        model, folder = small(input_shape=RGB), tmp_path_factory.mktemp("added") / "1"
        model.export(folder, top_k=2, warmup=True)
        yield SimpleNamespace(model=model, folder=folder)


def test_lint_finds_nothing_and_misses_the_signature_where_it_is_not(added, color):
    assert lint_saved_model(added.folder) == []
    missing = [finding.message for finding in lint_saved_model(color.folder)]
    assert [message.rpartition("without ")[2] for message in missing] == ["'contrast'.", "'contrast_bytes'."]


def test_it_is_warmed_up_and_verified(added):
    names = {name for name, _ in warmup.read_warmup(added.folder)}
    assert {"contrast", "contrast_bytes"} < names
    assert [row.detail for row in verify_saved_model(added.folder, added.model) if not row.passed] == []


def test_it_is_in_the_table(added):
    table = signature_table.render(added.folder)
    assert "| `contrast` | `images` | `classes`, `contrast` |" in table
    assert "| `contrast_bytes` | `image_bytes` | `classes`, `contrast`, `images` |" in table
    assert "| `contrast` | float32 | (B, 8, 7) | difference of the maps of two classes, logit units |" in table


def test_it_refuses_bad_input(added):
    run = tf.saved_model.load(str(added.folder)).signatures["contrast"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="pixels in"):
        run(images=tf.fill((1, *RGB), 256.0))


@pytest.mark.parametrize("protocol", CLIENTS)
def test_clients_call_it_and_check_its_answer(added, protocol):
    models = Models("coda", {1: LoadedVersion(added.folder)})
    images = pixels(3, RGB)
    explanation = added.model.explain(images, top_k=2)
    expected = explanation.contributions[:, 0] - explanation.contributions[:, 1]
    with (
        {"rest": RestDouble, "grpc": GrpcDouble}[protocol](models) as double,
        connect(protocol, double.address) as client,
    ):
        for given in (images, [encoded(image) for image in images]):
            outputs = client.call("contrast", given)
            np.testing.assert_allclose(outputs["contrast"], expected, atol=1e-5)
            np.testing.assert_array_equal(outputs["classes"], explanation.classes)
        np.testing.assert_array_equal(outputs["images"], images)
        double.alter = lambda outputs: {**outputs, "contrast": outputs["contrast"][:, :, :-1]}
        with pytest.raises(serving.InvalidAnswer, match=r"`contrast` must have shape \(3, 8, 7\). Received"):
            client.call("contrast", images)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("contrasts", {}, "`signature` must be one of .*'contributions'.* Received: signature='contrasts'"),
        ("contributions", {"classes": [[0, 1]]}, "inputs of 'contributions' must be .'images'.. Received: .*'classes'"),
        ("contributions_for_classes", {}, "must be .'images', 'classes'.. Received: inputs=.'images'."),
    ],
)
def test_calls_are_checked_before_anything_is_sent(signature, inputs, message):
    with connect("rest", "127.0.0.1:1") as client, pytest.raises(ValueError, match=message):
        client.call(signature, pixels(1, RGB), **inputs)
