"""The number of floating-point operations that training, prediction and explanation need: an analytic count.

Only matrix products are counted, two operations for each multiply-add. Elementwise operations and the f·R per location
of the last contraction are left out, so shares of the peak are a little too low. For a layer with N
locations in the batch, patches of d entries, f units and R = rank + 1:

    projection   N d r            z = [B x; 1]
    main         N d f R          Ãᵀ x of all units
    norms        N f min(d, R) R  zᵀ G z, or ‖Ã z‖² itself where d <= R
    Gram         f d R R          G = Ãᵀ Ã, once for a batch (where d > R)

    prediction   projection + main + norms + Gram
    training     3 projection + 3 main (the first layer 2: the gradient of the images is not needed)
                 + 2 norms (a product with G and one for the gradient of G, if G z is kept; 3 without G) + 2 Gram
    map          of one class: N d f R;  of K classes: min(K N d f R, N d f R + K N f d)
"""

import dataclasses
import math

import keras_coda


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """The sizes of one layer, per image, and its multiply-adds."""

    locations: int
    d: int
    f: int
    R: int

    @property
    def projection(self) -> int:
        """B x."""
        return self.locations * self.d * (self.R - 1)

    @property
    def main(self) -> int:
        """Ãᵀ x."""
        return self.locations * self.d * self.f * self.R

    @property
    def has_gram(self) -> bool:
        """Whether norms are taken from the Gram matrix."""
        return self.d > self.R

    @property
    def norms(self) -> int:
        """zᵀ G z, or ‖Ã z‖²."""
        return self.locations * self.f * min(self.d, self.R) * self.R

    @property
    def gram(self) -> int:
        """Ãᵀ Ã, for the whole batch."""
        return self.f * self.d * self.R**2 if self.has_gram else 0

    def pullback(self, targets: int) -> int:
        """The transposed frozen map for a number of classes."""
        return min(targets * self.main, self.main + targets * self.locations * self.f * self.d)


def layers(model) -> list[LayerCount]:
    """The convolutions of a network.

    Linear and B-cos convolutions count as units of rank 0: there is no projection, R = 1, and what is left of the norms
    and of the Gram matrix is next to nothing.
    """
    counts = []
    for layer in model.layers:
        if isinstance(layer, (keras_coda.DAUConv2D, keras_coda.LinearConv2D)):
            locations = math.prod(layer.output.shape[1:3])
            patch = math.prod(layer.kernel_size) * layer.input.shape[-1] // getattr(layer, "groups", 1)
            units = layer.filters * getattr(layer, "max_out", 1)
            counts.append(LayerCount(locations, patch, units, getattr(layer, "rank", 0) + 1))
    return counts


def prediction(counts: list[LayerCount], batch: int) -> int:
    """Operations of a prediction."""
    return 2 * sum(batch * (c.projection + c.main + c.norms) + c.gram for c in counts)


def training(counts: list[LayerCount], batch: int) -> int:
    """Operations of a training step."""
    total = 0
    for index, c in enumerate(counts):
        factor = 2 if index == 0 else 3
        norms = 2 * c.norms if c.has_gram else 3 * c.norms
        total += batch * (factor * (c.projection + c.main) + norms) + 2 * c.gram
    return 2 * total


def explanation(counts: list[LayerCount], batch: int, targets: int) -> int:
    """Operations of a prediction and the maps of ``targets`` classes."""
    return prediction(counts, batch) + 2 * batch * sum(c.pullback(targets) for c in counts)
