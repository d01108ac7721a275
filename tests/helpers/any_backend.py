"""A pytest plugin for JAX where TensorFlow is not installed: it hides TensorFlow, and collects what needs none.

    KERAS_BACKEND=jax python -m pytest -p tests.helpers.any_backend

runs the tests with the marker ``any_backend``. Files without it are not imported: they may need TensorFlow.
"""

import os

from tests.helpers import without_tensorflow

without_tensorflow.hide()
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling takes most of the time, and networks are small


def pytest_ignore_collect(collection_path):
    """Leave out files without the marker, and folders without such files, whose conftest.py may need TensorFlow."""
    tests = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any(b"any_backend" in test.read_bytes() for test in tests) else True


def pytest_collection_modifyitems(config, items):
    """Leave tests without the marker out."""
    config.hook.pytest_deselected(items=[item for item in items if not item.get_closest_marker("any_backend")])
    items[:] = [item for item in items if item.get_closest_marker("any_backend")]
