"""Run by test_distributed.py: train, predict and explain on JAX, in one process with two devices or as one of two.

python -m tests.helpers.distributed_check RESULTS.npz [PORT PROCESS]
"""

import os
import sys

if len(sys.argv) == 2:
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

import keras
import numpy as np

import keras_coda
from keras_coda.data import all_digits

out, *others = sys.argv[1:]
process = 0
if others:
    process = int(others[1])
    keras.distribution.initialize(f"127.0.0.1:{others[0]}", 2, process)
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
keras.utils.set_random_seed(0)


def batches(images, labels, size):
    """The joined batches, and of them the part of this process."""
    parts = [slice(start, start + size) for start in range(0, len(images), size)]
    joined = [(images[part], labels[part]) for part in parts]
    # The first half of a joined batch is that of the first process, as Keras joins them.
    if not others:
        return joined
    return [tuple(np.array_split(array, 2)[process] for array in batch) for batch in joined]


class Data(keras.utils.PyDataset):
    """Batches from a list."""

    def __init__(self, listed):
        super().__init__()
        self.listed = listed

    def __len__(self):
        return len(self.listed)

    def __getitem__(self, index):
        return self.listed[index]


images, labels = (part[:64] for part in all_digits())
model = keras_coda.CoDANet(10, input_shape=(8, 8, 1), filters=(4, 10), ranks=2, temperature=1.0)
data = Data(batches(images, labels, 32))
history = model.fit(data, epochs=2, verbose=0, shuffle=False).history
own = np.concatenate([batch for batch, _ in data.listed])
results = {
    "loss": history["loss"],
    "accuracy": history["accuracy"],
    "evaluated": model.evaluate(data, verbose=0),
    "images": own,
    "logits": model.predict(data, verbose=0),
    "contributions": model.explain(own, top_k=2, batch_size=32).contributions,
}
if not others:  # batches that two devices cannot divide: the last one of arrays, and a single image
    alone = model.predict(images[:7], batch_size=4, verbose=0)
    np.testing.assert_allclose(alone, model.explain(images[:7]).logits, atol=1e-5)
    np.testing.assert_allclose(model.predict(images[:1], verbose=0), alone[:1], atol=1e-5)
    loss = model.evaluate(images[:7], labels[:7], batch_size=4, verbose=0)[0]
    criterion = keras_coda.OneVsAllCrossentropy()(labels[:7], alone)
    np.testing.assert_allclose(loss, float(criterion), rtol=1e-5)
    before = model.get_weights()[0]
    history = model.fit(images[:7], labels[:7], batch_size=4, validation_data=(images[:3], labels[:3]), verbose=0)
    assert np.isfinite([history.history["loss"], history.history["val_loss"]]).all()
    assert (model.get_weights()[0] != before).any()
np.savez(out, **results)
