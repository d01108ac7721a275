"""A CoDA-Net and its maps written from the paper in plain loops, float64: what every fast path must equal."""

import numpy as np


def rescale(v, rescaling):
    """g(v): l2 or squash."""
    n = np.sqrt((v * v).sum())
    if n == 0:
        return v
    return v / n if rescaling == "l2" else v / n * (n * n / (1 + n * n))


def weights_of_patch(patch, B, A, b, rescaling):
    """Rows w_j(x) = g(A_j B x + b_j) for a flattened patch (d,), B (d, r), A (d, f, r), b (d, f): (f, d)."""
    z = B.T @ patch
    return np.stack([rescale(A[:, j] @ z + b[:, j], rescaling) for j in range(A.shape[1])])


def conv_matrix(x, projection, kernel, strides, rescaling):
    """The frozen linear map of a DAU convolution on one image x (H, W, c): (h, w, f, H, W, c).

    projection (kh, kw, c, r), kernel (kh, kw, c, f, r + 1) as the layer stores them.
    """
    x, projection, kernel = (np.asarray(a, "float64") for a in (x, projection, kernel))
    H, W, c = x.shape
    kh, kw, _, f, R = kernel.shape
    top, left = (kh - 1) // 2, (kw - 1) // 2
    d = kh * kw * c
    B, A, b = projection.reshape(d, -1), kernel[..., :-1].reshape(d, f, R - 1), kernel[..., -1].reshape(d, f)
    h, w = (H + 2 * top - kh) // strides[0] + 1, (W + 2 * left - kw) // strides[1] + 1
    matrix = np.zeros((h, w, f, H, W, c))
    for row in range(h):
        for column in range(w):
            patch = np.zeros((kh, kw, c))
            inside = []
            for i in range(kh):
                for j in range(kw):
                    y, z = row * strides[0] + i - top, column * strides[1] + j - left
                    if 0 <= y < H and 0 <= z < W:
                        patch[i, j] = x[y, z]
                        inside.append((i, j, y, z))
            rows = weights_of_patch(patch.reshape(d), B, A, b, rescaling).reshape(f, kh, kw, c)
            for i, j, y, z in inside:
                matrix[row, column, :, y, z] = rows[:, i, j]
    return matrix


def network(image, layers, rescaling, temperature, logit_bias, keep=1):
    """Logits (C,) and linear map (C, H, W, 2c) of one image (H, W, c) with pixels in [0, 255].

    layers: list of (projection, kernel, strides); keep: 1, or (H, W, 1), with which the encoded image is multiplied.
    """
    encoded = np.asarray(image, "float64") / 255
    encoded = np.concatenate([encoded, 1 - encoded], axis=-1) * keep
    activations, linear_map = encoded, None
    for projection, kernel, strides in layers:
        matrix = conv_matrix(activations, projection, kernel, strides, rescaling)
        activations = np.einsum("hwfHWc,HWc->hwf", matrix, activations)
        linear_map = matrix if linear_map is None else np.einsum("hwfHWc,HWc...->hwf...", matrix, linear_map)
    logits = activations.sum((0, 1)) / temperature + logit_bias
    return logits, linear_map.sum((0, 1)) / temperature


def model_layers(model):
    """The layers of a CoDANet as :func:`network` takes them."""
    layers = [layer for layer in model.layers if layer.name.startswith("dau_")]
    return [(np.array(layer.projection), np.array(layer.kernel), layer.strides) for layer in layers]
