import sys

import numpy as np
import pytest
from PIL import Image

from keras_coda.explanations.video import explain_video
from keras_coda_cli import main
from tests.helpers.videos import SIZE, noise, read_video, small_model, write_video


@pytest.fixture(scope="module")
def model():
    return small_model()


def explain(model, source, out, **options):
    return explain_video(model, source, out, verbose=False, **options)


# === What is refused ===


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [({"class_": "bea"}, ValueError, "Did you mean 'bee'"), ({"class_": 3}, ValueError, r"in \[0, 2\]"),
     ({"region": (40, 0, 16, 16)}, ValueError, r"within the frame, 52x36 pixels.*\(56, 16\)"),
     ({"region": (0, 0, 0, 16)}, ValueError, "`region`"), ({"region": (1, 2, 3)}, ValueError, "four integers"),
     ({"start": -1}, ValueError, "span"), ({"start": 0.2, "end": 0.2}, ValueError, "end after it began"),
     ({"start": 2}, ValueError, r"must hold frames. Received: start=2.*lasts 0.20 s"),
     ({"end": float("nan")}, ValueError, "`end`"), ({"batch_size": 0}, ValueError, "`batch_size`"),
     ({"image_size": 9}, ValueError, "8x8 pixels"), ({"out": "out.webm"}, ValueError, r"\.mp4, \.mov, \.mkv"),
     ({"out": "in.mkv"}, FileExistsError, "must not replace its source"),
     ({"out": "old.mp4"}, FileExistsError, "--overwrite"), ({"out": "no/out.mp4"}, FileNotFoundError, "Create"),
     ({"source": "no.mp4"}, ValueError, "does not exist"), ({"source": "."}, ValueError, "is a folder")],
)  # fmt: skip
def test_wrong_arguments_are_named_and_nothing_is_written(options, error, message, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "in.mkv", noise(5))
    (tmp_path / "old.mp4").write_text("old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    paths = {"source": "in.mkv", "out": "out.mp4"} | {
        key: options.pop(key) for key in ("source", "out") & options.keys()
    }
    with pytest.raises(error, match=message):
        explain(model, paths["source"], paths["out"], overwrite=paths["out"] == "in.mkv", **options)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("damage", ["text", "empty", "cut off", "cut in the middle", "overwritten", "sizes", "sound"])
def test_a_broken_video_is_refused_and_nothing_is_written(damage, model, tmp_path):
    static = np.random.default_rng(0).integers(0, 256, (50, *SIZE, 3), dtype="uint8")
    path = write_video(tmp_path / "in.mp4", list(static), container={"movflags": "+faststart"})
    content, message = path.read_bytes(), "must be whole.*(Repair|end at)"
    if damage in ("text", "empty", "cut off"):
        content = {"text": b"no video\n" * 99, "empty": b"", "cut off": content[:400]}[damage]
        message = "must be (readable|whole)"
    elif damage == "cut in the middle":
        content = content[: len(content) // 2]
    elif damage == "overwritten":
        middle = len(content) // 2
        content = content[:middle] + bytes(len(content) // 4) + content[middle + len(content) // 4 :]
    elif damage == "sizes":
        path, message = tmp_path / "in.mjpeg", "one size, here 64x48 pixels. Received: 32x48"
        for width in (64, 64, 32):
            Image.new("RGB", (width, 48), "red").save(tmp_path / "one.jpg")
            content = content * (path.exists()) + (tmp_path / "one.jpg").read_bytes()
            path.write_bytes(content)
    elif damage == "sound":
        path, message = tmp_path / "in.wav", "must have pictures"
        content = b"RIFF$\4\0\0WAVEfmt \20\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\10\0data\0\4\0\0" + bytes(1024)
    path.write_bytes(content)
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        explain(model, path, tmp_path / "out.mkv")
    assert set(tmp_path.iterdir()) == before


def test_without_the_extra_the_error_names_it(model, tmp_path, monkeypatch):
    source = write_video(tmp_path / "in.mkv", noise(1))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "keras-coda\[video\]"'):
        explain(model, source, tmp_path / "out.mkv")


# === The command ===


def test_the_command_writes_a_video_and_says_what_is_in_it(model, tmp_path, capsys):
    model.save_to_preset(tmp_path / "model")
    source = write_video(tmp_path / "in.mp4", noise(6), sound=True)
    arguments = ["explain", "--model", str(tmp_path / "model"), "--video", str(source), str(tmp_path / "out.mp4")]
    assert main.main([*arguments, "--classes", "cat", "--region", "4,2,32,32", "--end", "0.16"]) == 0
    shown = capsys.readouterr().out
    for text in ("out.mp4, without the sound", "4 in 0.12 s", "cat, the prediction for", "32x32 pixels at 4,2"):
        assert text in shown
    assert len(read_video(tmp_path / "out.mp4")[0]) == 4
    assert main.main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--video", "a.mp4"], "2 arguments"), (["a.png", "--video", "a.mp4", "b.mp4"], "not allowed with --video"),
     (["--video", "a.mp4", "b.mp4", "--top-k", "2", "--out", "x"], "--out, --top-k"),
     (["--video", "a.mp4", "b.mp4", "--classes", "a,b"], "one class"), (["a.png"], "required: --out"),
     (["--out", "x"], "required: PATH"), (["a.png", "--out", "x", "--start", "0"], "only allowed with --video"),
     (["--video", "a.mp4", "b.mp4", "--region", "1,2,3"], "X,Y,WIDTH,HEIGHT")],
)  # fmt: skip
def test_wrong_usage_is_2(arguments, message, capsys):
    assert main.main(["explain", "--model", "m", *arguments]) == 2
    assert message in capsys.readouterr().err
