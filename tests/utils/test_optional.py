import json
import sys

import pytest

from keras_coda.utils.optional import import_optional, is_installed, require_installed


def test_modules_that_are_there_are_imported():
    assert import_optional("json", extra="video") is json
    assert is_installed("json")


def test_the_error_names_the_extra(monkeypatch):
    with pytest.raises(ImportError) as info:
        import_optional("no_such_module.inner", extra="serving", purpose="Warm-up", package="such-module",
                        alternative="export with `warmup=False`")  # fmt: skip
    assert str(info.value) == (
        "Warm-up needs such-module. Received: No module named 'no_such_module'. "
        'Install it: pip install "keras-coda[serving]", or export with `warmup=False`.'
    )
    assert info.value.name == "no_such_module.inner"
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"Reading videos needs av\. Received: .*keras-coda\[video\]\"\.$"):
        import_optional("av", extra="video", purpose="Reading videos")
    require_installed("json", extra="video")
    with pytest.raises(
        ImportError, match=r"function needs no_such_module\. Received: No module .*keras-coda\[explore\]"
    ):
        require_installed("no_such_module", extra="explore")
    assert not is_installed("no_such_module")
    assert not is_installed("no_such_module.inner")
