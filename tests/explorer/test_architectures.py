"""Claims about the explorer with other networks than CoDANets: hybrids and residual B-cos networks."""

import base64

import pytest

from keras_coda import BcosResNet
from keras_coda.explorer import downloads
from keras_coda.explorer.handlers import Handlers
from keras_coda.explorer.networks import Networks
from keras_coda.explorer.shown import shown
from keras_coda.explorer.view import STYLES
from tests.helpers import hybrids

pytestmark = pytest.mark.slow
BUILD = {
    "hybrid": hybrids.make,
    "bcos": lambda: BcosResNet(
        4, input_shape=(8, 8, 1), blocks=(1,), bottleneck=False, filters=8, stem="small", class_names="abcd"
    ),
}


@pytest.mark.parametrize("name", BUILD)
def test_all_events_work_and_maps_of_hybrids_name_the_layer_wherever_they_are(name, tmp_path, capsys):
    BUILD[name]().save_to_preset(tmp_path / name)
    handlers = Handlers(Networks([tmp_path / name]))
    session, problem = handlers.open({"network": name}, "a")
    events = [
        ("class", {"value": 1}), ("brush", {"id": session.number, "removed": "10" * 32}), ("nine", {}),
        ("grid-class", {"value": 2}), *(("view", {"name": "style", "value": style}) for style in STYLES[::-1]),
    ]  # fmt: skip
    for kind, data in events:
        session, problem = handlers.act(kind, data, "a")
        assert not problem
        parts = shown(handlers.networks, session, problem, "open")
        maps = parts["stage"]["maps"]
        assert (maps[1] is None) == (session.without is None)
        for text in (maps[0]["scale"], *([parts["grid"]] if session.grid else [])):
            assert ("from layer <b>pool</b> on" in text) == (name == "hybrid")
        is_colored = session.view.style == STYLES[1] and name == "bcos"
        assert maps[0]["alt"] == f"Map of class b: {STYLES[is_colored]}"
        if kind == "view":
            files = [downloads.file(session, name, of_grid, "png") for of_grid in (False, True)]
            assert all(base64.b64decode(file["data"]).startswith(b"\x89PNG") for file in files)
    assert "Traceback" not in capsys.readouterr().err
