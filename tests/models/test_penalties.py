"""What holds of every penalty: names, serialization, and how `compile` takes them."""

import dataclasses
import json
import random
from typing import ClassVar

import keras
import numpy as np
import pytest

from keras_coda.models import LinearMapPenalty, MapConsistency, Penalty
from keras_coda.models.penalties import PENALTIES
from keras_coda.training import Recipe
from tests.helpers.penalized import make_images, make_model, step

every_penalty = pytest.mark.parametrize("name", sorted(PENALTIES))


@pytest.mark.usefixtures("eagerly")
@every_penalty
def test_a_penalty_can_be_given_by_name_and_is_saved_and_described(name, tmp_path):
    penalty = PENALTIES[name](0.25)
    assert keras.saving.get_registered_name(type(penalty)) == f"keras_coda>{type(penalty).__name__}"
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(penalty)))
    assert keras.saving.deserialize_keras_object(saved) == penalty
    model = make_model()
    model.compile(penalties={name: 0.25})
    assert model.penalties == (penalty,)
    images, labels = make_images()
    model.train_on_batch(images, labels)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").penalties == (penalty,)
    assert penalty.describe() in Recipe(penalties={name: 0.25}).describe()


@pytest.mark.slow
@every_penalty
def test_a_weight_of_0_draws_no_random_number_and_changes_nothing(name):
    images, labels = make_images()
    logs = []
    for penalties in ((), [PENALTIES[name](0)]):
        model = make_model()
        before = random.getstate()
        model.compile(penalties=penalties)
        assert random.getstate() == before  # Keras draws the seeds of layers and generators from it
        assert penalties == () or model.penalties == tuple(penalties)
        logs.append([step(model, images, labels) for _ in range(3)])
        assert not any("penalty" in metric.name for metric in model.metrics)
    assert logs[0] == logs[1]
    assert logs[0][0].keys() == {"accuracy", "loss"}


@pytest.mark.slow
@every_penalty
def test_only_training_logs_a_penalty_whichever_runs_first(name):
    images, labels = make_images()
    model, logged = make_model(), PENALTIES[name].logged
    model.compile(penalties={name: 0.1})
    for _ in range(2):
        assert model.evaluate(images, labels, verbose=0, return_dict=True).keys() == {"accuracy", "loss"}
        options = {"validation_data": (images, labels), "epochs": 2, "verbose": 0}
        expected = {"accuracy", "loss", logged, "val_accuracy", "val_loss"}
        assert model.fit(images, labels, **options).history.keys() == expected


@pytest.mark.slow
def test_a_new_penalty_is_one_class():
    @keras.saving.register_keras_serializable("test")
    @dataclasses.dataclass(frozen=True)
    class LargestLogit(Penalty):
        logged: ClassVar[str] = "largest"

        def measure(self, decomposition, batch, seed):
            return batch, keras.ops.max(batch.logits)

        def describe(self):
            return f"{self.weight:g} times the largest logit"

    images, labels = make_images()
    model = make_model()
    plain = step(model, images, labels)["loss"]
    model = make_model()
    model.compile(penalties=[LargestLogit(2.0)])
    largest = np.max(model.predict(images, verbose=0))
    logs = step(model, images, labels)
    assert logs["largest"] == pytest.approx(largest, rel=1e-5)
    assert logs["loss"] == pytest.approx(plain + 2 * largest, rel=1e-5)
    twin = make_model()
    twin.compile_from_config(json.loads(json.dumps(model.get_compile_config())))
    assert twin.penalties == (LargestLogit(2.0),)


@pytest.mark.parametrize(
    ("penalties", "message"),
    [
        (
            [LinearMapPenalty(0.1), MapConsistency(0.2)],
            r"Only one of .* Received: penalties=\[LinearMapPenalty\(weight=0.1\), MapConsistency\(weight=0.2\)\]",
        ),
        ({"linear_map": 0.1, "map_consistency": 0.2}, r"Only one of .* Received: .*weight=0.1.*weight=0.2"),
        ({"linear_maps": 0.1}, r"one of \['linear_map', 'map_consistency'\]. Received: penalties=\['linear_maps'\]"),
        ([0.1], r"must be a list of penalties.* Received: penalties=\[0.1\]"),
        (LinearMapPenalty(0.1), r"must be a list of penalties.* Received: penalties=LinearMapPenalty"),
    ],
)
def test_penalties_that_are_refused(penalties, message):
    with pytest.raises(ValueError, match=message):
        make_model().compile(penalties=penalties)
