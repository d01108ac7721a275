"""Accuracy with mixed precision: the same short training on the digits under three dtype policies."""

import keras
import numpy as np

import keras_coda

EPOCHS = 8
_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def run(quick: bool) -> dict:
    """Train under every policy, with the same seeds."""
    seeds, epochs = ((0,), 1) if quick else ((0, 1, 2), EPOCHS)
    results = {policy: [_train(policy, seed, epochs) for seed in seeds] for policy in _POLICIES}
    return {"seeds": seeds, "epochs": epochs, "policies": results}


def _train(policy, seed, epochs):
    keras.utils.set_random_seed(seed)
    data = keras_coda.data.load("digits")
    model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False, dtype=policy)
    history = model.fit(data.train, validation_data=data.validation, epochs=epochs, verbose=0).history
    images = np.concatenate([images for images, _ in data.validation])
    explanation = model.explain(images, verbose=False)
    optimizer = model.optimizer
    result = {
        "losses": history["loss"],
        "is_finite": bool(np.isfinite([*history["loss"], *history["val_loss"]]).all()),
        "accuracy": history["val_accuracy"][-1],
        "residual": float(explanation.residual.max()),
        "optimizer": type(optimizer).__name__,
    }
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        result["loss_scale"] = float(optimizer.dynamic_scale)
    weights = model.get_weights()
    result["is_finite"] &= all(bool(np.isfinite(weight).all()) for weight in weights)
    print(f"{policy}, seed {seed}: {result}", flush=True)
    return result
