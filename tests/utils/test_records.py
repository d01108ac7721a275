import dataclasses
import json
import math

import numpy as np
import pytest

from keras_coda.utils.records import Record, to_json


@dataclasses.dataclass(frozen=True, eq=False)
class Scores(Record):
    name: str
    values: np.ndarray
    classes: np.ndarray
    error: float
    notes: tuple = ()

    def extra_json(self):
        return {"mean": self.values.mean()}


def test_round_trip(tmp_path):
    classes = np.array([[1, 2]], "int32")
    scores = Scores("a", np.array([0.5, math.nan]), classes, math.nan, ({"x": np.float32(1)}, None))
    text = scores.to_json(tmp_path / "scores.json")
    assert (tmp_path / "scores.json").read_text() == text + "\n"
    assert json.loads(text) == {
        "kind": "Scores", "mean": None, "name": "a", "values": [0.5, None], "classes": [[1, 2]], "error": None,
        "notes": [{"x": 1.0}, None],
    }  # fmt: skip
    read = Scores.from_json(tmp_path / "scores.json")
    np.testing.assert_array_equal(read.values, scores.values)
    np.testing.assert_array_equal(read.classes, classes)
    assert (read.values.dtype.kind, read.classes.dtype.kind) == ("f", "i")
    assert math.isnan(read.error)
    assert read.notes == ({"x": 1.0}, None)
    assert json.loads(to_json({"all": (scores,)})) == {"all": [json.loads(text)]}


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"kind": "Other"}')
    with pytest.raises(ValueError, match=r"must hold a Scores\. Received: path='.*', kind='Other'"):
        Scores.from_json(path)
    path.write_text('{"kind": "Scores", "name": "a"}')
    with pytest.raises(ValueError, match=r"must hold a Scores.*missing=\['values', 'classes', 'error'\]"):
        Scores.from_json(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="must hold a Scores.*'list'"):
        Scores.from_json(path)


def test_a_value_that_json_has_not_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("before")
    with pytest.raises(ValueError, match="JSON"):
        Scores("a", np.array([math.inf]), np.array([0]), 0.0).to_json(path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.json", "before")]
