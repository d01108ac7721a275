"""Run a module without TensorFlow: ``python -m tests.helpers.without_tensorflow MODULE [ARGUMENT ...]``."""

import runpy
import sys

# TensorFlow, and packages that are not installed without it.
HIDDEN = ("tensorflow", "tensorflow_datasets", "tensorflow_serving", "tf_explain", "tf2onnx", "ai_edge_litert")


class Without:
    """A finder of modules that does not find TensorFlow, as where it is not installed.

    A None in ``sys.modules`` would not do: Keras takes the name there for an import.
    """

    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self._finder.find_spec(name, path, target)


def hide() -> None:
    """Hide TensorFlow from all imports that follow."""
    assert "tensorflow" not in sys.modules
    sys.meta_path[:] = map(Without, sys.meta_path)


if __name__ == "__main__":
    hide()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
