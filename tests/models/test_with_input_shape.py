"""Claims about `CoDANet.with_input_shape`: the same weights for images of another size, made and compiled once."""

import gc
import json
import weakref
import zipfile

import keras
import numpy as np
import pytest

from keras_coda import CoDANet
from keras_coda.evaluation import localization
from keras_coda.explanations.compiled import compiled_explainer
from tests.helpers import quarters

ANY = (None, None, 1)


def make_model(**options):
    keras.utils.set_random_seed(0)
    options = {"ranks": (2, 4), "temperature": 1.0, "class_names": "abcd", **options}
    return CoDANet(4, input_shape=(4, 4, 1), filters=(6, 4), **options)


def pixels(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, size, size, 1), "uint8")


@pytest.mark.slow
def test_localization_compiles_once_and_follows_the_weights():
    data = quarters.make_data()
    model = make_model()
    model.compile(keras.optimizers.Adam(0.03))
    found = []
    for _ in range(2):
        model.fit(data.train, epochs=3, verbose=0)
        found.append(localization(model, data.validation, **quarters.FAST, verbose=False).values)
    assert compiled_explainer(model.with_input_shape(ANY)).traces == 1
    fresh = CoDANet.from_config(model.get_config())
    fresh.set_weights(model.get_weights())
    np.testing.assert_array_equal(found[1], localization(fresh, data.validation, **quarters.FAST, verbose=False).values)
    assert np.abs(found[1] - found[0]).max() > 1e-4


def test_the_copy_has_the_weights_and_attributes_of_the_model():
    model = make_model(pixel_dropout=0.2, dtype="mixed_bfloat16")
    model.training_figures = {"epochs": 3}
    model.jit_compile = True
    copy = model.with_input_shape([8, None, 1])
    assert type(copy) is CoDANet
    assert copy.get_config() == {**model.get_config(), "input_shape": (8, None, 1)}
    assert (copy.class_names, copy.temperature, copy.jit_compile) == (tuple("abcd"), 1.0, True)
    assert copy.training_figures == {"epochs": 3}
    for own, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(own, expected)
    model.jit_compile = False
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert model.with_input_shape((8, None, 1)) is copy
    assert copy.jit_compile is False
    np.testing.assert_array_equal(copy.get_weights()[0], model.get_weights()[0])
    copy = copy.with_input_shape((4, 4, 1))  # back: weights that a copy of a copy has are the same
    np.testing.assert_array_equal(copy.explain(pixels(4)).contributions, model.explain(pixels(4)).contributions)


def test_a_model_of_that_shape_is_its_own_copy_and_other_channels_are_refused():
    model = make_model()
    assert model.with_input_shape((4, 4, 1)) is model
    with pytest.raises(ValueError, match=r"as many channels as the network's. Received: input_shape=\(4, 4, 3\)"):
        model.with_input_shape((4, 4, 3))
    with pytest.raises(ValueError, match="`input_shape` must be"):
        model.with_input_shape((4, 4))


def test_a_changed_config_gives_another_copy():
    model = make_model()
    copy = model.with_input_shape(ANY)
    model.class_names = tuple("wxyz")
    assert model.with_input_shape(ANY).explain(pixels(8)).class_names == tuple("wxyz")
    assert model.with_input_shape(ANY) is not copy


def test_a_copy_is_no_part_of_the_model_or_its_files(tmp_path):
    def contents(name):
        model.save(tmp_path / name)
        with zipfile.ZipFile(tmp_path / name) as file:
            return json.loads(file.read("config.json")), sorted(file.namelist()), file.read("model.weights.h5")

    model = make_model()
    parts = list(map(id, model.layers)), list(map(id, model.weights)), list(map(id, model.variables))
    before, logits = contents("before.keras"), model.predict(pixels(4), verbose=0)
    model.with_input_shape(ANY).explain(pixels(8))
    assert parts == (list(map(id, model.layers)), list(map(id, model.weights)), list(map(id, model.variables)))
    after = contents("after.keras")
    assert after[:2] == before[:2]
    assert len(after[2]) == len(before[2])
    loaded = keras.saving.load_model(tmp_path / "after.keras")
    np.testing.assert_array_equal(loaded.predict(pixels(4), verbose=0), logits)
    np.testing.assert_array_equal(
        loaded.with_input_shape(ANY).explain(pixels(8)).contributions,
        model.with_input_shape(ANY).explain(pixels(8)).contributions,
    )


@pytest.mark.usefixtures("eagerly")
def test_a_copy_ends_with_its_model():
    model = make_model()
    copy = model.with_input_shape(ANY)
    copy.explain(pixels(8))
    ends = weakref.ref(model), weakref.ref(copy)
    del model, copy
    gc.collect()
    gc.collect()  # the copy, which the first one let go of
    assert [end() for end in ends] == [None, None]
