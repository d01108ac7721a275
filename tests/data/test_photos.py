import numpy as np

import keras_coda
from keras_coda.data import sample_photos


def test_there_are_three_different_photos_of_each_class():
    images, labels, class_names = sample_photos()
    assert (images.shape, images.dtype, len(class_names)) == ((30, 32, 32, 3), np.uint8, 10)
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 3))
    assert len({image.tobytes() for image in images}) == 30
    assert images.flags.writeable
    assert images.flags.c_contiguous


def test_a_shipped_network_recognizes_them():
    """Labels are in the order of the network's classes, and pixels are not torn apart."""
    images, labels, class_names = sample_photos()
    model = keras_coda.CoDANet.from_preset("coda_xs_cifar10")
    assert tuple(model.class_names) == class_names
    explanation = model.explain(images, verbose=False)
    assert np.mean(explanation.classes[:, 0] == labels) >= 0.7
    assert explanation.residual.max() < 1e-4


def test_changing_them_changes_no_later_ones():
    first, _, _ = sample_photos()
    first[:] = 0
    assert sample_photos()[0].any()
