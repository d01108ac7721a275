import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_coda.models import presets
from keras_coda.training import recipes
from keras_coda.training.recipes import Recipe
from keras_coda.training.schedules import cosine_schedule, step_schedule


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (10, 0), (7, 6)])
def test_schedule_rises_to_its_peak_and_falls_to_zero(steps, warmup):
    rates = cosine_schedule(0.02, steps, warmup)
    values = [float(rates(step)) for step in range(steps + 1)]
    assert max(values) == pytest.approx(0.02)
    assert values[warmup] == pytest.approx(0.02)
    assert values[-1] == pytest.approx(0, abs=1e-8)
    assert min(values[:-1]) > 0
    assert np.all(np.diff(values[: warmup + 1]) > 0)
    assert np.all(np.diff(values[warmup:]) < 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 10), "learning_rate"), ((np.nan, 10), "learning_rate"), ((0.1, 0), "steps"), ((0.1, 5, 5), "warmup_steps")],
)
def test_schedule_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        cosine_schedule(*arguments)


def test_step_schedule_divides_the_rate_every_few_epochs():
    rates = step_schedule(0.9, 7, 10, decay=3, decay_epochs=3)
    values = [float(rates(step)) for step in range(70)]
    np.testing.assert_allclose(values, np.repeat([0.9, 0.3, 0.1], [30, 30, 10]), rtol=1e-6)


def test_step_schedule_warms_up_in_equal_steps_and_counts_from_the_peak():
    rates = step_schedule(1e-3, 60, 4, decay=2, decay_epochs=20, warmup_epochs=15, warmup_rate=2.5e-4)
    values = np.array([float(rates(step)) for step in range(240)]).reshape(60, 4)
    assert (values == values[:, :1]).all()
    np.testing.assert_allclose(values[:16, 0], np.linspace(2.5e-4, 1e-3, 16), rtol=1e-6)
    np.testing.assert_allclose(values[[34, 35, 54, 55, 59], 0], [1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4], rtol=1e-6)
    default = step_schedule(0.4, 9, 1, decay=2, decay_epochs=20, warmup_epochs=3)
    np.testing.assert_allclose([float(default(step)) for step in range(5)], [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_schedules_are_saved_with_the_optimizer(name):
    recipe = Recipe() if name == "cosine" else recipes.recipe("paper", (240, 240))
    optimizer = recipe.optimizer(5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for step in (0, 7, 74, 75, 200):
        again.iterations.assign(step)
        assert float(again.learning_rate) == float(recipe.learning_rates(5)(step))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 0.5}, "decay"),
        ({"decay_epochs": 0}, "decay_epochs"),
        ({"warmup_epochs": 4}, "warmup_epochs"),
        ({"warmup_epochs": 2, "warmup_rate": 0}, "warmup_rate"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
    ],
)
def test_step_schedule_refuses(changes, message):
    arguments = {"learning_rate": 0.1, "epochs": 4, "steps_per_epoch": 5, "decay": 2, "decay_epochs": 2}
    with pytest.raises(ValueError, match=message):
        step_schedule(**{**arguments, **changes})


def test_the_papers_recipes_are_those_of_its_supplement():
    cifar, imagenet = (
        recipes.recipe("paper", presets.preset_architecture(name)["input_shape"][:2])
        for name in ("coda_s_cifar10", "coda_l_imagenet100")
    )
    assert (cifar.epochs, cifar.batch_size, cifar.augmentation) == (200, 16, "flip_crop")
    rates = cifar.learning_rates(3125)
    expected = [2.5e-4 / 1.5 ** (epoch // 30) for epoch in range(200)]
    np.testing.assert_allclose([float(rates(epoch * 3125)) for epoch in range(200)], expected, rtol=1e-5)
    assert (imagenet.epochs, imagenet.batch_size, imagenet.augmentation) == (60, 64, "rand_augment")
    assert round(240 * imagenet.resize_ratio) == 256
    assert float(imagenet.learning_rates(10)(150)) == pytest.approx(1e-3)
    assert recipes.recipe("paper", (None, None)) == cifar
    assert recipes.recipe("default", (240, 240)) == Recipe()
    with pytest.raises(ValueError, match="papr"):
        recipes.recipe("papr")


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        recipes.recipe("paper"),
        Recipe(ema=0.99, penalties={"linear_map": 1.0}),
        Recipe(penalties={"map_consistency": 0.5}),
    ],
)
def test_recipes_survive_json(recipe):
    assert Recipe(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
    assert recipe.describe().startswith("Adam")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"schedule": "linear"}, "cosine.*step"),
        ({"schedule": "step"}, "needs `decay`"),
        ({"decay": 2.0}, 'belong to the schedule "step"'),
        ({"warmup": 1.0}, "warmup"),
        ({"augmentation": "mixup"}, "flip_crop"),
        ({"resize_ratio": 0.5}, "resize_ratio"),
        ({"ema": 1.0}, "ema"),
        ({"penalties": {"linear_map": -1}}, "`LinearMapPenalty.weight` must not be negative"),
        ({"penalties": {"map_consistency": -1}}, "`MapConsistency.weight` must not be negative"),
        ({"penalties": {"linear_map": 1, "map_consistency": 1}}, "Only one of"),
        ({"penalties": {"smooth": 1}}, r"one of \['linear_map', 'map_consistency'\]. Received: penalties=\['smooth'\]"),
        ({"penalties": [1]}, "`penalties` must be a dict"),
    ],
)
def test_a_recipe_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)


@pytest.mark.parametrize(
    ("former", "penalties"),
    [
        ({"linear_map_regularization": 0.1, "map_consistency": 0.0}, {"linear_map": 0.1}),
        ({"linear_map_regularization": 0.0, "map_consistency": 0.5}, {"map_consistency": 0.5}),
        ({"linear_map_regularization": 0.0}, {}),  # recorded before there was another one
    ],
)
def test_what_earlier_versions_recorded_is_read(former, penalties):
    recorded = {"epochs": 5, **former}
    assert Recipe(**recipes.upgrade(recorded)) == Recipe(epochs=5, penalties=penalties)
    study = recipes.upgrade({"recipe": recorded, "grid": 3})
    assert study == {"recipe": {"epochs": 5, "penalties": penalties}, "grid": 3}
    assert recipes.upgrade(study) == study


def test_a_penalty_without_weight_is_none():
    assert Recipe(penalties={"linear_map": 0}) == Recipe()
