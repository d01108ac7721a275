import functools
import json

import pytest

from keras_coda.utils.run_folder import RunFolder

training = functools.partial(RunFolder, file="training.json", what="training", leaves=("log", "model"), restart=False)
comparison = functools.partial(RunFolder, file="arguments.json", what="comparison", additive="methods")


def test_a_run_is_resumed_with_the_same_arguments(tmp_path):
    arguments = {"epochs": 5, "size": (8, 8), "recipe": {"ema": None}}
    folder = training(tmp_path / "a" / "run", arguments)
    assert not folder.is_begun
    assert not (tmp_path / "a").exists()
    folder.begin()
    assert folder.is_begun
    assert json.loads((folder.path / "training.json").read_text()) == {**arguments, "size": [8, 8]}
    before = (folder.path / "training.json").stat()
    again = training(folder.path, arguments)
    assert again.is_begun
    again.begin()
    assert (folder.path / "training.json").stat() == before


def test_every_changed_argument_is_named(tmp_path):
    training(tmp_path, {"epochs": 5, "recipe": {"ema": None, "decay": 1}, "dtype": "float32"}).begin()
    with pytest.raises(
        ValueError, match="A training can be resumed only with the arguments that it began with"
    ) as info:
        training(tmp_path, {"epochs": 6, "recipe": {"ema": 0.5, "decay": 1}, "seed": 1})
    changed = "dtype=None (it was 'float32'), epochs=6 (it was 5), recipe.ema=0.5 (it was None), seed=1 (it was None)"
    assert f"out='{tmp_path}' with {changed}. " in str(info.value)
    assert str(info.value).endswith(
        "Repeat them as they were, choose another folder, or begin anew with `restart` (--restart)."
    )
    with pytest.raises(
        ValueError, match=r"epochs=6 \(it was 5\).*Repeat them as they were or choose another folder\.$"
    ):
        RunFolder(tmp_path, {"epochs": 6}, file="training.json", what="search")


def test_none_is_the_same_as_missing(tmp_path):
    training(tmp_path, {"epochs": 5}).begin()
    assert training(tmp_path, {"epochs": 5, "new": None}).is_begun


@pytest.mark.parametrize("restart", [False, True])
def test_the_folder_of_something_else_is_refused(tmp_path, restart):
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match=r"must be new or hold a training.*\['model'\].*without 'training.json'"):
        training(tmp_path, {}, restart=restart)
    (tmp_path / "model").rmdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert not training(tmp_path, {}).is_begun
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(
            ValueError, match="must be new, empty or hold a comparison.*notes.txt.*Choose another folder"
        ):
            comparison(path, {"methods": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_restart_deletes_what_the_run_left_and_nothing_else(tmp_path):
    training(tmp_path, {"epochs": 5}).begin()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    for name in ("log", "notes.txt"):
        (tmp_path / name).write_text("old")
    folder = training(tmp_path, {"epochs": 6}, restart=True)
    assert not folder.is_begun
    assert (tmp_path / "log").exists()
    folder.begin()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "training.json"]
    assert training(tmp_path, {"epochs": 6}).is_begun
    folder.begin()  # deletes once only
    assert folder.is_begun


def test_additive_arguments_may_grow_but_not_change(tmp_path):
    comparison(tmp_path, {"n": 2, "methods": {"a": "A()", "b": "B()"}}).begin()
    grown = comparison(tmp_path, {"n": 2, "methods": {"b": "B()", "c": "C()"}})
    assert grown.is_begun
    assert grown.arguments == {"n": 2, "methods": {"a": "A()", "b": "B()", "c": "C()"}}
    grown.begin()
    assert json.loads((tmp_path / "arguments.json").read_text()) == grown.arguments
    with pytest.raises(ValueError, match=r"with methods\.a='A\(2\)' \(it was 'A\(\)'\)\. Repeat"):
        comparison(tmp_path, {"n": 2, "methods": {"a": "A(2)", "d": "D()"}})


def test_two_processes_cannot_begin_different_runs(tmp_path):
    first, second = training(tmp_path, {"epochs": 5}), training(tmp_path, {"epochs": 6})
    first.begin()
    with pytest.raises(ValueError, match=r"epochs=6 \(it was 5\)"):
        second.begin()


def test_an_interrupted_write_does_not_block_the_folder(tmp_path):
    (tmp_path / ".123.part").write_text("half")
    comparison(tmp_path, {"methods": {}}).begin()


def test_records_of_earlier_versions_are_upgraded(tmp_path):
    training(tmp_path, {"penalty": 0.5}).begin()
    upgraded = training(tmp_path, {"penalties": {"p": 0.5}}, upgrade=lambda old: {"penalties": {"p": old["penalty"]}})
    assert upgraded.is_begun


def test_folders_that_cannot_be_written_to_are_noticed_unless_the_run_is_only_read(tmp_path, monkeypatch):
    training(tmp_path / "old", {"epochs": 5}).begin()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert training(tmp_path / "old", {"epochs": 5}).is_begun
    for folder in (tmp_path / "new", tmp_path / "old"):
        with pytest.raises(PermissionError, match="out must lie in a folder that can be written to"):
            training(folder, {"epochs": 5}).begin()
