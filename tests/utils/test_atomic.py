"""Claims about files and folders that are whole or not there, and about what killed processes leave."""

import os
import threading
import time

import pytest

from keras_coda.utils import atomic

DEAD = ".tmp-net-0123456789ab"


@pytest.fixture(autouse=True)
def unswept(monkeypatch):
    monkeypatch.setattr(atomic, "_swept", set())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path):
    with atomic.new_file(path) as temporary:
        temporary.write_text("new")


def make(path):
    with atomic.new_folder(path) as temporary:
        (temporary / "a").touch()


@pytest.mark.parametrize("create", [write, make])
def test_what_a_killed_process_left_is_deleted(tmp_path, create):
    (tmp_path / DEAD / "inside").mkdir(parents=True)
    (tmp_path / ".tmp-\n-0123456789ab").mkdir()
    create(tmp_path / "x")
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("create", [write, make])
def test_what_a_living_process_writes_is_kept(tmp_path, create):
    with atomic.new_folder(tmp_path / "living") as living, atomic.new_file(tmp_path / "file") as file:
        file.write_text("half")
        create(tmp_path / "x")
        atomic.sweep(tmp_path)
        assert living.is_dir()
        assert file.read_text() == "half"
    assert names(tmp_path) == ["file", "living", "x"]


def test_what_is_not_ours_is_kept(tmp_path):
    for name in (".tmp-mine", "tmp-net-0123456789ab", ".tmp-net-0123456789abcd", ".hidden", "a.part"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / DEAD).symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path)
    atomic.sweep(tmp_path)
    assert names(tmp_path) == before


def test_what_version_0_1_0_left_is_deleted_after_a_day(tmp_path):
    left = [tmp_path / ".tmp-model-01234567", tmp_path / f".{'0' * 32}.part"]
    left[0].mkdir()
    left[1].touch()
    atomic.sweep(tmp_path)
    assert all(path.exists() for path in left)
    for path in left:
        os.utime(path, (0, time.time() - 25 * 3600))
    atomic.sweep(tmp_path)
    assert not names(tmp_path)


def test_where_there_are_no_locks_nothing_is_deleted(tmp_path, monkeypatch):
    (tmp_path / DEAD).mkdir()

    def no_locks(*_):
        raise OSError("not supported")

    for fcntl in (None, type("fcntl", (), {"flock": no_locks, "LOCK_EX": 0, "LOCK_NB": 0})):
        monkeypatch.setattr(atomic, "fcntl", fcntl)
        write(tmp_path / "x")
        make(tmp_path / f"y{fcntl is None}")
    assert names(tmp_path) == [DEAD, "x", "yFalse", "yTrue"]


def test_sweeps_and_writers_do_not_disturb_each_other(tmp_path):
    stop, errors = threading.Event(), []

    def write_often(number):
        try:
            for _ in range(100):
                write(tmp_path / f"x{number}")
        except Exception as error:
            errors.append(error)

    def sweep_often():
        while not stop.is_set():
            atomic.sweep(tmp_path)

    writers = [threading.Thread(target=write_often, args=(number,)) for number in range(3)]
    sweeper = threading.Thread(target=sweep_often)
    for thread in (*writers, sweeper):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    sweeper.join()
    assert not errors
    assert names(tmp_path) == ["x0", "x1", "x2"]


@pytest.mark.parametrize("create", [write, make])
def test_an_error_leaves_what_was_there(tmp_path, create, monkeypatch):
    def fail(*_):
        raise OSError("full")

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr("pathlib.Path.rename", fail)
    with pytest.raises(OSError, match="full"):
        create(tmp_path / ("x" if create is write else "new"))
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path):
    for name in ("b" * 255, "ü" * 127):
        write(tmp_path / name)
    make(tmp_path / ("c" * 255))
    for name in ("b" * 256, "ü" * 128):
        with pytest.raises(OSError, match="A name may have 255 bytes.*Received: path=.*256"):
            atomic.check_new(tmp_path / "new" / name / "1")


def test_targets_are_checked_before_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path, error in {"file": FileExistsError, ".": FileExistsError, "file/x": NotADirectoryError}.items():
        with pytest.raises(error, match="Received: "):
            atomic.check_new(tmp_path / path)
    with pytest.raises(FileExistsError):
        atomic.refuse_existing(tmp_path / "dangling")
    assert atomic.check_new(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    atomic.check_writable(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="out must lie in a folder that can be written to"):
        atomic.check_writable(tmp_path / "a" / "b", "out")
