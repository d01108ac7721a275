"""Claims about the explorer in a browser. All tests share one server and one Chromium; each opens its own page."""

import importlib.util
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, Explanation, data
from tests.helpers import explorer_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs Gradio: keras-coda[explore]"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs Playwright: keras-coda[test]"),
    pytest.mark.skipif(explorer_browser.chromium() is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def address(temporary, tmp_path_factory):
    own = tmp_path_factory.mktemp("own") / "traffic"
    CoDANet(2, input_shape=(None, None, 3), filters=(4, 2), ranks=2, class_names=("go", "<stop>")).save_to_preset(own)
    with explorer_browser.server(temporary, "--model", "coda_digits", "--model", own, "--max-upload-mb", 1) as address:
        yield address


@pytest.fixture(scope="module")
def chrome():
    with explorer_browser.browser() as chrome:
        yield chrome


@pytest.fixture
def page(chrome, address):
    page = explorer_browser.open_page(chrome, address)
    yield page
    assert {urlsplit(url).hostname for url in page.requested if url.startswith("http")} == {"127.0.0.1"}
    assert not page.complaints
    page.context.close()


@pytest.fixture(scope="module")
def model():
    return CoDANet.from_preset("coda_digits")


@pytest.fixture(scope="module")
def nine():
    """An image of a 9 that is not one of the examples."""
    images, labels = next(iter(data.load("digits").validation.unbatch().batch(360).as_numpy_iterator()))
    return images[np.flatnonzero(labels == 9)[0]]


def write(path, pixels):
    Image.fromarray(pixels.squeeze().astype("uint8")).save(path)
    return path


def uploads(temporary):
    return [path for path in temporary.rglob("*") if path.is_file() and path.name != "stderr.txt"]


def give(page, path, name=None):
    page.set_input_files("#upload input[type=file]", path)
    page.wait_for_selector(f"#canvas canvas[aria-label*='{name or path.name}']")


def numbers(page, selector):
    text = page.locator(selector).inner_text().replace("−", "-")
    return [float(each) for each in re.findall(r"[-+]?\d+\.?\d*(?:e-?\d+)?", text)]


def test_an_upload_is_explained_and_not_kept(page, nine, temporary, tmp_path, model):
    give(page, write(tmp_path / "my nine.png", nine), "my nine.png")
    assert page.locator("#bars [aria-pressed=true] .kc-name").inner_text() == "9"
    total, bias, logit, residual = numbers(page, "#map .kc-table tbody")
    assert total + bias == pytest.approx(logit, abs=2e-4)
    assert logit == pytest.approx(float(model.predict(nine[None], verbose=0)[0, 9]), abs=1e-3)
    assert residual < 1e-4
    assert uploads(temporary) == []
    assert page.locator("#upload img").count() == 0  # ready for the next


def test_the_class_is_switched_by_bars_and_by_name(page, model, nine, tmp_path):
    give(page, write(tmp_path / "nine.png", nine))
    logits = model.predict(nine[None], verbose=0)[0]
    page.locator("#bars button").nth(1).click()
    second = str(np.argsort(-logits)[1])
    page.wait_for_function(f"document.querySelector('#map b').innerText === '{second}'")
    page.locator("#class input").click()
    page.get_by_role("option", name="4", exact=True).click()
    page.wait_for_function("document.querySelector('#map b').innerText === '4'")
    assert page.locator("#bars [aria-pressed=true] .kc-name").inner_text() == "4"
    assert numbers(page, "#map .kc-table tbody")[2] == pytest.approx(float(logits[4]), abs=1e-3)


def wait_until_removed(page, share):
    page.wait_for_function(f"document.querySelector('#what-if b')?.innerText === '{share}'")


def test_the_brush_tells_what_the_map_predicts_and_what_is_real(page, model, nine, tmp_path):
    give(page, write(tmp_path / "nine.png", nine))
    page.locator("#canvas canvas").focus()
    for key in ("ArrowUp", "Space", "ArrowLeft", "Space"):  # from the middle: pixels (3, 4) and (3, 3)
        page.keyboard.press(key)
    wait_until_removed(page, "3.1 %")
    encoded = np.concatenate([nine / 255, 1 - nine / 255], axis=-1)
    encoded[3, 3:5] = 0
    real = encoded[None].astype("float32")
    for layer in model.layers[-5:]:
        real = layer(real) if type(layer).__name__ not in ("AddInverse", "InputLayer") else real
    logit = float(model.predict(nine[None], verbose=0)[0, 9])
    gone = float(model.explain(nine[None], 9, verbose=False).contributions[0, 0, 3, 3:5].sum())
    before, _, predicted, _, shown, *_ = numbers(page, "#what-if tbody")
    assert [before, predicted, shown] == pytest.approx([logit, logit - gone, float(real[0, 9])], abs=0.011)
    difference = numbers(page, "#what-if .kc-difference")[0]
    assert difference == pytest.approx(shown - predicted, abs=0.011)

    page.locator("#bars button").nth(1).click()  # the same pixels, for another class
    page.wait_for_function("document.querySelectorAll('#what-if b')[2].innerText !== '9'")
    page.get_by_role("button", name="Restore all").click()
    page.wait_for_selector("#what-if .kc-real", state="detached")


def test_an_event_is_sent_when_the_outcome_of_the_one_before_has_arrived(page):
    seen = []

    def note(what, request):
        name = urlsplit(request.url).path.removeprefix("/gradio_api/queue/")
        if (name, what) in (("join", "sent"), ("data", "sent"), ("data", "ended")):
            seen.append(f"{name} {what}")

    page.on("request", lambda request: note("sent", request))
    for ending in ("requestfinished", "requestfailed"):  # at its end Gradio aborts a stream
        page.on(ending, lambda request: note("ended", request))
    page.locator("#canvas canvas").focus()
    for key in ("Space", "ArrowLeft") * 4:
        page.keyboard.press(key)
    wait_until_removed(page, "6.2 %")
    assert seen[:11] == (["join sent", "data sent", "data ended"] * 4)[:11]


def test_the_brush_paints_with_the_mouse_and_is_reset_by_another_image(page, nine, tmp_path):
    explorer_browser.stroke(page, (0.1, 0.55), (0.9, 0.55))
    assert page.locator("#what-if b").first.inner_text() == "12.5 %"  # a row of eight
    give(page, write(tmp_path / "nine.png", nine))
    assert page.locator("#what-if .kc-real").count() == 0
    assert "0 removed" in page.locator("#canvas canvas").get_attribute("aria-label")


def test_a_bad_file_leaves_no_map_beside_it(page, nine, temporary, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    page.set_input_files("#upload input[type=file]", bad)
    told = page.wait_for_selector("#message [role=alert]").inner_text()
    assert "An image must be readable. Received: 'bad.png'" in told
    assert "Save it again as PNG or JPEG" in told
    assert page.locator("#map img").count() == page.locator("#bars button").count() == 0
    assert not page.locator("#canvas canvas").is_visible()
    assert uploads(temporary) == []
    give(page, write(tmp_path / "nine.png", nine))
    assert page.locator("#message [role=alert]").count() == 0
    assert page.locator("#map img").count() == 1


def test_a_file_too_large_is_refused(page, temporary, tmp_path):
    large = write(tmp_path / "large.png", np.random.default_rng(0).integers(0, 256, (800, 800, 3)))
    before = page.locator("#map img").get_attribute("src")
    page.set_input_files("#upload input[type=file]", large)
    page.get_by_text("maximum allowed size").first.wait_for()
    assert uploads(temporary) == []
    assert page.locator("#map img").get_attribute("src") == before


def test_cut_and_rendering_change_colors_only(page):
    source, table = page.locator("#map img").get_attribute("src"), page.locator("#map table").inner_text()
    page.locator("#percentile input[type=number]").fill("80")
    page.keyboard.press("Enter")
    page.wait_for_function(f"document.querySelector('#map img').src !== '{source}'")
    source = page.locator("#map img").get_attribute("src")
    page.get_by_label("linear map in color").check()
    page.wait_for_function(f"document.querySelector('#map img').src !== '{source}'")
    assert page.locator("#map table").inner_text() == table
    assert "linear map in color" in page.locator("#map img").get_attribute("alt")
    assert page.locator("#percentile input[type=number]").input_value() == "90"
    assert "Orange: a brighter pixel" in page.locator("#map").inner_text()


def test_grids(page, nine, temporary, tmp_path):
    page.get_by_role("tab", name="Grid").click()
    page.locator("#nine").click()
    page.wait_for_selector("#grid-map img")
    assert page.locator("#evidence tbody tr").count() == 9
    assert sum(numbers(page, "#evidence tbody")[4::5]) == pytest.approx(100, abs=0.5)
    page.locator("#grid-class input").click()
    page.get_by_role("option", name="6", exact=True).click()
    page.wait_for_function("document.querySelector('#grid-map b').innerText === '6'")
    shares = [float(each.split()[0]) for each in page.locator("#evidence .kc-share").all_inner_texts()]
    assert np.argmax(shares) == 6
    page.locator("#empty").click()
    page.wait_for_selector("#grid-map img", state="detached")
    files = [write(tmp_path / f"{name}.png", pixels) for name, pixels in (("nine", nine), ("turned", nine[::-1]))]
    page.set_input_files("#files input[type=file]", files)
    page.wait_for_selector("#grid-map img")
    assert page.locator("#evidence tbody tr").count() == 2
    assert "nine.png" in page.locator("#evidence").inner_text()
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8")
    page.set_input_files("#files input[type=file]", [tmp_path / "bad.jpg"])
    assert "bad.jpg" in page.wait_for_selector("#grid-message [role=alert]").inner_text()
    assert page.locator("#evidence tbody tr").count() == 2
    assert uploads(temporary) == []


@pytest.mark.parametrize("tab", ["One image", "Grid"])
def test_downloads(page, tab, temporary, tmp_path):
    prefix = ""
    if tab == "Grid":
        page.get_by_role("tab", name="Grid").click()
        page.locator("#nine").click()
        page.wait_for_selector("#grid-map img")
        prefix = "grid-"
    for kind in ("png", "npz"):
        with page.expect_download() as download:
            page.locator(f"#{prefix}{kind}").click()
        assert download.value.suggested_filename.endswith(f".{kind}")
        download.value.save_as(tmp_path / f"file.{kind}")
    assert Image.open(tmp_path / "file.png").width > 300
    explanation = Explanation.load(tmp_path / "file.npz")
    total = explanation.contributions.sum((2, 3)) + explanation.bias
    assert total == pytest.approx(explanation.explained_logits, abs=1e-3)
    assert explanation.images.shape == (1, *((24, 24) if prefix else (8, 8)), 1)
    assert uploads(temporary) == []


def test_two_visitors_do_not_see_each_other(page, chrome, address, nine, tmp_path):
    other = explorer_browser.open_page(chrome, address)
    give(page, write(tmp_path / "nine.png", nine))
    other.locator("#bars button").nth(1).click()
    other.wait_for_selector("#bars button:nth-child(2)[aria-pressed=true]")
    assert "digit 0" in other.locator("#canvas canvas").get_attribute("aria-label")
    page.locator("#bars button").nth(2).click()
    page.wait_for_selector("#bars button:nth-child(3)[aria-pressed=true]")
    assert "nine.png" in page.locator("#canvas canvas").get_attribute("aria-label")
    other.context.close()


def test_an_own_network_of_any_size(page, tmp_path):
    page.locator("#network input").click()
    page.get_by_role("option", name="traffic").click()
    page.wait_for_function("document.querySelector('#about').innerText.includes('any size')")
    image = np.random.default_rng(0).integers(0, 256, (20, 600, 3))
    give(page, write(tmp_path / "wide.png", image))
    assert "256 by 9 pixels" in page.locator("#canvas canvas").get_attribute("aria-label")
    assert "<stop>" in page.locator("#bars").inner_text()  # as text


def test_a_webcam(page):
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#upload video').videoWidth > 0")
    page.wait_for_timeout(500)  # before the first frame a click does nothing
    page.get_by_role("button", name="capture photo").click()
    page.wait_for_selector("#canvas canvas:not([aria-label*='digit 0'])")
    assert page.locator("#map img").count() == 1
    page.complaints.clear()  # Gradio asks how far the upload is after it has ended


def test_a_phone_shows_all_of_it(chrome, address, tmp_path):
    page = explorer_browser.open_page(chrome, address, width=390, height=844)
    explorer_browser.stroke(page, (0.2, 0.5), (0.8, 0.5))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("#upload", "#canvas canvas", "#map img", "#bars", "#what-if table"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0, selector
        assert 250 < box["width"] <= 390 - box["x"], selector
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert Image.open(tmp_path / "phone.png").width == 390
    page.context.close()
