"""Run a module without TensorFlow: ``python -m tests.helpers.without_tensorflow MODULE [ARGUMENT ...]``."""

import runpy
import sys


class Without:
    """A finder of modules that does not find TensorFlow, as where it is not installed.

    A None in ``sys.modules`` would not do: Keras takes the name there for an import.
    """

    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else self._finder.find_spec(name, path, target)


if __name__ == "__main__":
    sys.meta_path[:] = map(Without, sys.meta_path)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
