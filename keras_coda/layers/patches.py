"""Patches of images as rows of a matrix, and back: convolutions as matrix products.

Images are padded with ``(k - 1) // 2`` zeros on each side, for every stride (CVPR 2021, section 3.3). As a product of a
patch matrix, a convolution runs a third faster on CPUs than as a convolution, whose operands must be brought into
another memory layout first, and its transpose likewise. Heights and widths may be tensors.
"""

from keras import ops


def count(size, kernel_size: int, stride: int):
    """Number of patches along an axis of ``size`` entries."""
    return (size + 2 * ((kernel_size - 1) // 2) - kernel_size) // stride + 1


def counts(input_shape, kernel_size, strides) -> tuple[int | None, int | None]:
    """Return the numbers of patches along height and width; raise ``ValueError`` if a padded image is below a patch."""
    found = []
    for size, kernel, stride in zip(input_shape[1:3], kernel_size, strides, strict=True):
        number = None if size is None else count(size, kernel, stride)
        found.append(number)
        if number is not None and number < 1:
            raise ValueError(
                f"The padded input must be at least as large as `kernel_size`. Received: "
                f"kernel_size={kernel_size}, input_shape={tuple(input_shape)}. "
                "Use larger images, a smaller kernel or fewer strides before this layer."
            )
    return found[0], found[1]


def extract(images, kernel_size, strides):
    """Return all patches ``(batch, rows, columns, kernel_height·kernel_width·channels)`` of images, channels last."""
    (kernel_height, kernel_width), (down, right) = kernel_size, strides
    _, height, width, _ = ops.shape(images)
    last_row = (count(height, kernel_height, down) - 1) * down + 1
    last_column = (count(width, kernel_width, right) - 1) * right + 1
    top, left = (kernel_height - 1) // 2, (kernel_width - 1) // 2
    padded = ops.pad(images, ((0, 0), (top, top), (left, left), (0, 0)))
    # Without the last axis, the starts of a slice (0, 1, 2) would be the numbers of its axes, which tf2onnx confuses.
    taps = [
        padded[:, i : i + last_row : down, j : j + last_column : right, :]
        for i in range(kernel_height)
        for j in range(kernel_width)
    ]
    return ops.concatenate(taps, axis=-1) if len(taps) > 1 else taps[0]


def scatter(patches, kernel_size, strides, image_shape):
    """Add patches up at their places, the transpose of :func:`extract`: ``(batch, *image_shape[1:])``."""
    kernel_height, kernel_width = kernel_size
    _, height, width, channels = image_shape
    rows, columns, _ = ops.shape(patches)[1:]
    taps = ops.reshape(patches, (-1, rows, columns, kernel_height, kernel_width * channels))
    placed = place([taps[:, :, :, i] for i in range(kernel_height)], 1, rows, strides[0])
    taps = ops.reshape(placed, (-1, ops.shape(placed)[1], columns, kernel_width, channels))
    placed = place([taps[:, :, :, j] for j in range(kernel_width)], 2, columns, strides[1])
    top, left = (kernel_height - 1) // 2, (kernel_width - 1) // 2
    return placed[:, top : top + height, left : left + width, :]


def place(taps, axis, count, stride):
    """Add up ``taps``, ``count`` long on ``axis`` of four; the place of entry n of tap i is ``n·stride + i``.

    After the last patch, ``stride - 1`` zeros: a stride may leave that many entries that no patch has seen.
    """
    total = None
    for offset, tap in enumerate(taps):
        if stride > 1:
            shape = list(ops.shape(tap))
            gaps = [(0, 0)] * 5
            gaps[axis + 1] = (0, stride - 1)
            shape[axis] = count * stride
            tap = ops.reshape(ops.pad(ops.expand_dims(tap, axis + 1), gaps), shape)
        margins = [(0, 0)] * 4
        margins[axis] = (offset, len(taps) - 1 - offset)
        tap = ops.pad(tap, margins)
        total = tap if total is None else total + tap
    return total
