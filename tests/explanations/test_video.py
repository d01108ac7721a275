import signal
import weakref
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet
from keras_coda.data import video as video_files
from keras_coda.data.images import fitting
from keras_coda.data.preparation import Preparation
from keras_coda.explanations import video as explain_video
from keras_coda.visualization.video import NARROWEST, Panels
from tests.helpers.videos import NAMES, SIZE, noise, read_video, set_display_matrix, small_model, write_video


def values(pixels, limit):
    """The contributions, in [-limit, limit], whose colors these are."""
    from matplotlib import colormaps

    colors = colormaps["RdBu_r"](np.arange(256), bytes=True)[:, :3].astype(int)
    nearest = np.abs(pixels[..., None, :].astype(int) - colors).sum(axis=-1).argmin(axis=-1)
    return ((nearest + 0.5) / 128 - 1) * limit


def centers(pixels, side=8):
    """The middle pixel of each of the squares of a map."""
    rows, columns = (((2 * np.arange(side) + 1) * length) // (2 * side) for length in pixels.shape[:2])
    return pixels[rows[:, None], columns]


@pytest.fixture(scope="module")
def model():
    return small_model()


def explain(model, source, out, **options):
    return explain_video.explain_video(model, source, out, verbose=False, **options)


def maps_of(model, frames, label=None, region=(0, 0, *SIZE[::-1])):
    """What the network says of frames, resized as image files are."""
    x, y, width, height = region
    fit = fitting((8, 8))
    return model.explain(np.stack([fit(frame[y : y + height, x : x + width]) for frame in frames]), label)


# === What the video shows ===


@pytest.mark.parametrize(("ending", "tolerance"), [(".mkv", 0.01), (".mp4", 0.12), (".mov", 0.12)])
@pytest.mark.parametrize("region", [(0, 0, 52, 36), (5, 3, 40, 32)])
def test_frames_and_maps_in_the_video_are_those_of_the_network(ending, tolerance, region, model, tmp_path):
    frames = noise(7)
    source, out = write_video(tmp_path / "in.mkv", frames), tmp_path / f"out{ending}"
    result = explain(model, source, out, class_="bee", region=region, batch_size=3)
    shown, _ = read_video(out)
    assert shown.shape[1:3] == result.panels.shape
    explanation = maps_of(model, frames, 1, region)
    for index, frame in enumerate(frames):
        difference = np.abs(shown[index][result.panels.frame].astype(int) - frame)
        if ending == ".mkv":
            assert difference.max() == 0
        else:  # H.264 blurs the edges of colors
            assert centers(difference, 4).max() < 30
        expected = np.clip(explanation.contributions[index, 0], -result.limit, result.limit)
        seen = values(centers(shown[index][result.panels.map]), result.limit)
        assert np.abs(seen - expected).mean() < tolerance * result.limit
        if ending == ".mkv":
            assert np.abs(seen - expected).max() < 0.02 * result.limit
    assert result.residual == pytest.approx(explanation.residual.max(), abs=1e-5)
    assert result.residual < 1e-4


def test_the_class_is_the_most_frequent_prediction_and_the_colors_end_at_one_percentile(model, tmp_path):
    frames = noise(40, seed=1)
    predicted = maps_of(model, frames).classes[:, 0]
    first, second = np.unique(predicted, return_counts=True)[0][:2]
    chosen = [*np.flatnonzero(predicted == first)[:2], *np.flatnonzero(predicted == second)[:3]]
    frames = [frames[index] for index in chosen]
    result = explain(model, write_video(tmp_path / "in.mkv", frames), tmp_path / "out.mkv", batch_size=2)
    assert (result.label, result.class_name, result.share) == (second, NAMES[second], 0.6)
    magnitudes = np.abs(maps_of(model, frames[2:], int(second)).contributions)
    limit = np.percentile(magnitudes, explain_video.PERCENTILE, method="inverted_cdf")
    assert limit <= result.limit <= 1.04 * limit


def test_a_map_of_zeros_has_a_color_scale_all_the_same():
    explanation = type("", (), {"logits": np.zeros((1, 2)), "classes": np.zeros((1, 1), int)})
    for greatest, limit in ((0.0, 1.0), (2.0, 2.0)):
        explanation.contributions = np.zeros((1, 1, 40, 40), "float32")
        explanation.contributions[..., 0, 0] = greatest
        survey = explain_video.Survey(2)
        survey.add(explanation)
        assert survey.limit(0) == pytest.approx(limit, rel=0.04)


@pytest.mark.parametrize("region", [(0, 0, *SIZE[::-1]), (5, 3, 24, 32)])
def test_frames_are_prepared_as_photos_are(region, tmp_path):
    model, frames, (x, y, width, height) = small_model(), noise(3), region
    model.preparation = preparation = Preparation(resize=12, crop=8)
    result = explain(model, write_video(tmp_path / "in.mkv", frames), tmp_path / "out.mkv", class_="bee", region=region)
    images = np.stack([preparation(frame[y : y + height, x : x + width]) for frame in frames])
    expected = model.explain(images, 1).contributions[:, 0]
    shown, _ = read_video(tmp_path / "out.mkv")
    for picture, contributions in zip(shown, expected, strict=True):
        seen = values(centers(picture[result.panels.map]), result.limit)
        assert np.abs(seen - np.clip(contributions, -result.limit, result.limit)).max() < 0.02 * result.limit


@pytest.mark.parametrize("size", [(8, 8), (6, 11), (11, 5)])
@pytest.mark.parametrize("shape", [(36, 52), (53, 30), (9, 200)])
def test_the_map_covers_what_resizing_leaves_of_the_frame(size, shape):
    ramp = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=-1) + 0.5
    x, y, width, height = explain_video.seen_part((0, 0, *shape[::-1]), size)
    seen = fitting(size)(ramp)
    np.testing.assert_allclose(seen.mean(axis=(0, 1)), (x + width / 2, y + height / 2), atol=0.01)
    step = (seen[-1, -1] - seen[0, 0]) / (size[1] - 1, size[0] - 1)
    np.testing.assert_allclose(step, (width / size[1], height / size[0]), rtol=0.3)


@pytest.mark.parametrize("shape", [(36, 52), (53, 30), (9, 200), (5, 5)])
def test_the_map_covers_what_a_preparation_leaves_of_the_frame(shape):
    preparation = Preparation(resize=10, crop=6)
    ramp = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=-1) + 0.5
    left, top, width, height = preparation.seen(*shape)
    seen = preparation(ramp)[1:-1, 1:-1]  # at the border of the frame less is averaged
    np.testing.assert_allclose(seen.mean(axis=(0, 1)), (left + width / 2, top + height / 2), atol=0.01)
    x, y, wide, high = explain_video.seen_part((3, 2, *shape[::-1]), (6, 6), preparation)
    np.testing.assert_allclose(
        (x, y, x + wide, y + high), np.add((left, top, left + width, top + height), (3, 2, 3, 2)), atol=0.5
    )


def test_what_the_network_does_not_see_is_gray(model, tmp_path):
    source = write_video(tmp_path / "in.mkv", noise(1))
    panels = explain(model, source, tmp_path / "out.mkv", region=(20, 4, 16, 16)).panels
    rows, columns = panels.map
    right = read_video(tmp_path / "out.mkv")[0][0][panels.frame[0], columns.start - 20 :][:, : SIZE[1]].astype(int)
    is_gray = (np.ptp(right, axis=-1) == 0) & (right[..., 0] <= 255)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
    assert is_gray[:3].all()
    assert is_gray[:, :19].all()
    assert is_gray[:, 37:].all()
    assert not is_gray[4:20, 20:36].all()


@pytest.mark.parametrize("width", [NARROWEST - 1, NARROWEST, 640])
def test_wide_panels_have_captions_cut_to_their_width(width):
    panels = Panels((90, width), (0, 0, width, 90), 1.0)
    top = panels.frame[0].start
    assert (top > 0) == (width >= NARROWEST)
    assert panels.shape[0] % 2 == panels.shape[1] % 2 == 0
    picture = panels.draw(np.zeros((90, width, 3), "uint8"), np.zeros((4, 4)), ("word " * 60, ""))
    assert (picture[:top, : width - 2] < 100).any() == (top > 0)
    assert (picture[:top, width:] == 255).all()


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_odd_sizes_are_filled_up(ending, model, tmp_path):
    out = tmp_path / f"out{ending}"
    explain(model, write_video(tmp_path / "in.mkv", noise(2, size=(21, 33))), out)
    assert read_video(out)[0].shape == (2, 22, 74, 3)


def test_networks_of_any_size_and_of_gray_images(tmp_path):
    source = write_video(tmp_path / "in.mkv", noise(2))
    model = CoDANet(2, input_shape=(None, None, 1), filters=(2, 2), ranks=2)
    whole = explain(model, source, tmp_path / "whole.mkv", class_=1)
    assert whole.seen == (0, 0, *SIZE[::-1])
    gray = np.asarray(Image.fromarray(noise(2)[0]).convert("L"))[None, ..., None]
    shown = values(read_video(tmp_path / "whole.mkv")[0][0][whole.panels.map], whole.limit)
    expected = np.clip(model.explain(gray, 1).contributions[0, 0], -whole.limit, whole.limit)
    assert np.abs(shown - expected).max() < 0.02 * whole.limit
    small = explain(model, source, tmp_path / "small.mkv", image_size=(9, 6))
    assert small.seen == (14, 0, 24, 36)


def test_dark_frames_are_no_reason_to_warn(model, tmp_path, recwarn):
    explain(model, write_video(tmp_path / "in.mkv", [np.full((*SIZE, 3), 1, "uint8")] * 2), tmp_path / "out.mkv")
    assert not [warning for warning in recwarn if "Pixels" in str(warning.message)]


# === Time ===


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_frames_keep_their_times_where_the_rate_varies(ending, model, tmp_path):
    ticks = [0, 1, 2, 9, 10, 30]
    source = write_video(tmp_path / "in.mkv", noise(6), ticks)
    result = explain(model, source, tmp_path / f"out{ending}")
    np.testing.assert_allclose(read_video(tmp_path / f"out{ending}")[1], np.array(ticks) / 25, atol=1e-6)
    assert (result.num_frames, result.seconds) == (6, 1.2)


@pytest.mark.parametrize(("start", "end", "first", "count"), [(0, 0.2, 0, 5), (0.44, 0.8, 11, 9), (1.0, None, 25, 5)])
def test_a_span_is_explained_from_any_frame_on(start, end, first, count, model, tmp_path):
    frames = [np.full((*SIZE, 3), 8 * index, "uint8") for index in range(30)]
    source = write_video(tmp_path / "in.mp4", frames, g="10", bf="2")
    result = explain(model, source, tmp_path / "out.mkv", start=start, end=end)
    shown, times = read_video(tmp_path / "out.mkv")
    assert len(shown) == result.num_frames == count
    assert np.abs(shown[:, 5, 5, 0].astype(int) - 8 * np.arange(first, first + count)).max() <= 3
    np.testing.assert_allclose(times, np.arange(count) / 25, atol=1e-3)


# === As players show it ===

# What players do for each EXIF orientation, as (a, b, c, d): the pixel (x, y) is shown at (a x + c y, b x + d y).
MATRICES = {
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


def moved(pixels, a, b, c, d):
    """Move every pixel as the matrix says, one by one."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    column, row = a * x + c * y, b * x + d * y
    column, row = column - column.min(), row - row.min()
    shown = np.zeros((row.max() + 1, column.max() + 1, 3), "uint8")
    shown[row, column] = pixels
    return shown


@pytest.mark.parametrize("orientation", MATRICES)
def test_frames_are_turned_and_mirrored_as_players_do(orientation, tmp_path):
    frames = noise(1)
    source = set_display_matrix(write_video(tmp_path / "in.mp4", frames), *MATRICES[orientation])
    video = video_files.VideoSource(source)
    shown = next(video.frames()).pixels
    assert video.size == shown.shape[:2] == (SIZE if orientation < 5 else SIZE[::-1])
    np.testing.assert_array_equal(shown, moved(read_video(source)[0][0], *MATRICES[orientation]))


@pytest.mark.parametrize("scale", [1, 3.7, 1e-3, 65536])
def test_a_matrix_is_understood_at_any_scale_and_up_to_rounding(scale):
    for orientation, matrix in MATRICES.items():
        assert video_files.orientation_of(*(scale * number for number in matrix)) == orientation
        assert video_files.orientation_of(*(scale * (number + 0.003) for number in matrix)) == orientation
    assert video_files.orientation_of(0, 0, 0, 0) == 1
    for matrix in ((1, 1, -1, 1), (1, 0.1, -0.1, 1), (1, 0, 0, 0), (0, 0, 1, 0), (0.5, 0.87, -0.87, 0.5)):
        assert video_files.orientation_of(*(scale * number for number in matrix)) is None


@pytest.mark.parametrize(
    ("aspect", "size"), [((2, 1), (36, 104)), ((1, 2), (72, 52)), ((16, 11), (36, 76)), ((8, 9), (40, 52))]
)
def test_pixels_are_made_square(aspect, size, model, tmp_path):
    source = write_video(tmp_path / "in.mp4", noise(2), aspect=Fraction(*aspect))
    assert video_files.VideoSource(source).size == size
    result = explain(model, source, tmp_path / "out.mkv")
    shown = read_video(tmp_path / "out.mkv")[0][0][result.panels.frame]
    resized = Image.fromarray(read_video(source)[0][0]).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(shown, np.asarray(resized))
    assert result.seen[2:] == (min(size), min(size))


def test_pixels_are_made_square_before_frames_are_turned(tmp_path):
    source = write_video(tmp_path / "in.mp4", noise(1), aspect=Fraction(2))
    assert video_files.VideoSource(set_display_matrix(source, *MATRICES[6])).size == (104, 36)


def test_what_players_would_show_in_another_way_is_refused(model, tmp_path):
    source = write_video(tmp_path / "in.mp4", noise(1))
    with pytest.raises(ValueError, match="turned by quarter turns, and mirrored. Received: .*in.mp4.*-45 degrees"):
        explain(model, set_display_matrix(source, 0.7071, 0.7071, -0.7071, 0.7071), tmp_path / "out.mkv")
    source = write_video(tmp_path / "wide.mp4", noise(1), aspect=Fraction(17))
    with pytest.raises(ValueError, match="up to 16 times as wide as high.*Received: .*wide.mp4.*a ratio of 17"):
        explain(model, source, tmp_path / "out.mkv")


# === Whole or not at all, in bounded memory ===


@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_run_leaves_no_file(exists, model, tmp_path, monkeypatch, request):
    # Whatever a shell starts in the background ignores the signal, and so would this process.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    source, out, drawn, draw = write_video(tmp_path / "in.mkv", noise(9)), tmp_path / "out.mp4", [], Panels.draw
    if exists:
        out.write_text("an earlier result")

    def interrupted(*arguments):
        drawn.append(1)
        if len(drawn) == 5:
            signal.raise_signal(signal.SIGINT)
        return draw(*arguments)

    monkeypatch.setattr(Panels, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explain(model, source, out, overwrite=exists, batch_size=2)
    assert {path.name for path in tmp_path.iterdir()} == ({"in.mkv", "out.mp4"} if exists else {"in.mkv"})
    assert not exists or out.read_text() == "an earlier result"


def test_no_more_frames_are_kept_than_a_batch(model, tmp_path, monkeypatch):
    read, alive, most = video_files.VideoSource.frames, weakref.WeakSet(), []

    class Pixels(np.ndarray):
        """Arrays by themselves are not hashable."""

        __hash__ = object.__hash__

    def counted(self, start, end):
        for frame in read(self, start, end):
            pixels = frame.pixels.copy().view(Pixels)
            frame = frame._replace(pixels=pixels)
            alive.add(pixels)
            most.append(len(alive))
            del pixels
            yield frame

    monkeypatch.setattr(video_files.VideoSource, "frames", counted)
    source = write_video(tmp_path / "in.mkv", noise(40))
    explain(model, source, tmp_path / "out.mkv", batch_size=4)
    assert len(most) == 80  # each frame is read twice
    assert 4 <= max(most) <= 4 + 2  # one is being decoded, one being drawn
