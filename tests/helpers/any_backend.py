"""A pytest plugin for JAX where TensorFlow is not installed: it hides TensorFlow, and collects what needs none.

    KERAS_BACKEND=jax python -m pytest -p tests.helpers.any_backend

runs the tests with the marker ``any_backend``. Files without it are not imported: they may need TensorFlow.
"""

import os

from tests.helpers import without_tensorflow

without_tensorflow.hide()
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling takes most of the time, and networks are small


def pytest_ignore_collect(collection_path):
    """Leave files without the marker out."""
    is_test = collection_path.is_file() and collection_path.name.startswith("test_")
    return True if is_test and "any_backend" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(config, items):
    """Leave tests without the marker out."""
    config.hook.pytest_deselected(items=[item for item in items if not item.get_closest_marker("any_backend")])
    items[:] = [item for item in items if item.get_closest_marker("any_backend")]
