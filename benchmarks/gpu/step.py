"""Training steps as one compiled program: augmentation, gradients, Adam and the average of the weights in a scan.

The images stay on the device as uint8. A call of the program runs a chunk of steps, so that the host has nothing to do
between two of them.
"""

import time

import jax
import jax.numpy as jnp
import keras
import numpy as np

import keras_coda
from benchmarks.gpu import augmenting
from benchmarks.gpu.networks import PRECISIONS, values


class Trainer:
    """The state of a training on the device, and the compiled program that runs a chunk of its steps.

    Args:
        model: the network, whose weights the training starts with. They do not change: the state has its own.
        images: ``(n, H, W, c)`` uint8.
        labels: ``(n,)`` int.
        precision: a key of ``PRECISIONS``.
        batch: images per step.
        chunk: steps per call.
        ema: momentum of the moving average of the weights; 0 for none.
        clip: largest global norm of the gradients; 0 for no limit.
        pad: pixels of padding from which crops are taken.
        flip: whether half of the images are flipped.
        distort: whether images are distorted, too, see :func:`benchmarks.gpu.augmenting.distort`.
        seed: of order and augmentation.

    Attributes:
        state: the weights, other variables of the model and those of Adam, and the key of random numbers.
        compiled: the program, after :meth:`compile`.
    """

    def __init__(
        self,
        model: keras_coda.ExplainableClassifier,
        images,
        labels,
        *,
        precision: str,
        batch: int,
        chunk: int,
        ema: float = 0.0,
        clip: float = 0.0,
        pad: int = 4,
        flip: bool = True,
        distort: bool = False,
        seed: int = 0,
    ):
        self.model, self.batch, self.chunk = model, batch, chunk
        self._precision, self._pad, self._flip, self._distort = PRECISIONS[precision], pad, flip, distort
        options = {"use_ema": True, "ema_momentum": ema} if ema else {}
        self.optimizer = keras.optimizers.Adam(1.0, global_clipnorm=clip or None, **options)
        self.optimizer.build(model.trainable_variables)
        variables = self.optimizer.variables
        self._rate = next(i for i, variable in enumerate(variables) if variable is self.optimizer.learning_rate)
        self.images, self.labels = jax.device_put(images), jax.device_put(np.asarray(labels, "int32"))
        self.state = {
            "trained": values(model.trainable_variables),
            "other": values(model.non_trainable_variables),
            "optimizer": values(variables),
            "key": jax.random.key(seed),
        }
        self.compiled = None
        self._order, self._rest = np.random.default_rng(seed), np.zeros(0, "int32")

    def compile(self) -> float:
        """Compile the program; return the seconds that took."""

        def run(state, images, labels, *steps):
            def step(state, given):
                return self._step(images, labels, state, *given)

            state, (losses, hits) = jax.lax.scan(step, state, steps)
            return state, losses.mean(), hits.mean()

        start = time.monotonic()
        indices, zeros = jnp.zeros((self.chunk, self.batch), "int32"), jnp.zeros(self.chunk)
        with self._precision.scope():
            lowered = jax.jit(run, donate_argnums=0).lower(self.state, self.images, self.labels, indices, zeros, zeros)
            self.compiled = lowered.compile()
        return time.monotonic() - start

    def run(self, rates, strengths=1.0) -> tuple[jax.Array, jax.Array]:
        """Run a chunk of steps; return means of loss and accuracy.

        They are on the device: the call returns before the steps are done.

        Args:
            rates: ``(chunk,)``, learning rates.
            strengths: one or ``(chunk,)``, of the distortions, in [0, 1].
        """
        indices, rates = jnp.asarray(self._next_indices()), jnp.asarray(rates, "float32")
        strengths = jnp.asarray(np.broadcast_to(strengths, self.chunk), "float32")
        self.state, loss, hits = self.compiled(self.state, self.images, self.labels, indices, rates, strengths)
        return loss, hits

    def weights_to(self, model: keras_coda.ExplainableClassifier) -> None:
        """Give a network of the same architecture the weights: the averaged ones if there are."""
        pairs = [(self.optimizer.variables, "optimizer"), (model.trainable_variables, "trained")]
        pairs += [(model.non_trainable_variables, "other")]  # such as the statistics of batch normalization
        for variables, name in pairs:
            for variable, value in zip(variables, self.state[name], strict=True):
                variable.assign(jnp.copy(value))  # the next call takes the memory of the state
        self.optimizer.finalize_variable_values(model.trainable_variables)  # the averages, if there are

    def _next_indices(self):
        """Indices of the next steps ``(chunk, batch)``: every image once, in random order, then all of them again."""
        need = self.chunk * self.batch
        while len(self._rest) < need:
            self._rest = np.concatenate([self._rest, self._order.permutation(len(self.labels)).astype("int32")])
        indices, self._rest = self._rest[:need], self._rest[need:]
        return indices.reshape(self.chunk, self.batch)

    def _step(self, images, labels, state, indices, rate, strength):
        key, own = jax.random.split(state["key"])
        x, y = augmenting.flip_crop(images[indices], own, self._pad, self._flip).astype("float32"), labels[indices]
        x = augmenting.distort(x, jax.random.fold_in(own, 1), strength) if self._distort else x

        def objective(trained):
            logits, other = self.model.stateless_call(trained, state["other"], x, training=True)
            return self.model.loss(y, logits), (other, jnp.mean(jnp.argmax(logits, -1) == y))

        (loss, (other, hits)), gradients = jax.value_and_grad(objective, has_aux=True)(state["trained"])
        optimizer = list(state["optimizer"])
        optimizer[self._rate] = rate.astype(optimizer[self._rate].dtype)
        trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, state["trained"])
        return {"trained": trained, "other": other, "optimizer": optimizer, "key": key}, (loss, hits)
