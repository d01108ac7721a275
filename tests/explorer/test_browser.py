"""Claims about the explorer in a browser. All tests share one server and one Chromium; each opens its own page."""

import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, Explanation, data
from keras_coda.explorer.examples import examples
from tests.helpers import explorer_browser
from tests.helpers.explorer_browser import stroke

pytestmark = explorer_browser.MARKS
CANVAS = "#stage canvas"
MAP = "#stage [data-panel=map] img.kc-map"
AFTER = "#stage [data-panel=after] img.kc-map[src]"


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


def give(page, path):
    page.set_input_files("#upload-source input[type=file]", path)
    page.wait_for_selector(f"{CANVAS}[aria-label*='{path.name}']")


def numbers(page, selector):
    text = page.locator(selector).inner_text().replace("−", "-")
    return [float(each) for each in re.findall(r"[-+]?\d+\.?\d*(?:e-?\d+)?", text)]


def sums(page):
    """Sum of the map, bias, logit, residual."""
    texts = page.locator("#tables .kc-sums td").all_inner_texts()
    return [float(text.replace("−", "-")) for text in texts]


def wait_for_class(page, name):
    page.wait_for_function(f"document.querySelector('#stage [data-panel=map] h2').innerText === 'Map: {name}'")


def wait_until_removed(page, share):
    page.wait_for_function(f"document.querySelector('#what-if b')?.innerText === '{share}'")


# === One image ===


def test_an_upload_is_explained_and_not_kept(page, nine, temporary, tmp_path, model):
    give(page, write(tmp_path / "my nine.png", nine))
    assert page.locator("#result [aria-pressed=true] .kc-name").inner_text() == "9"
    assert "The network's answer: 9 (" in page.locator("#said").inner_text()
    total, bias, logit, residual = sums(page)
    assert total + bias == pytest.approx(logit, abs=2e-4)
    assert logit == pytest.approx(float(model.predict(nine[None], verbose=0)[0, 9]), abs=1e-3)
    assert residual < 1e-4
    assert uploads(temporary) == []
    assert "loading the network coda_digits ..." in (temporary / "stderr.txt").read_text(), "what a start waits for"


def test_the_class_is_switched_by_bars_and_by_name_also_right_after_an_answer(page, model, nine, tmp_path):
    give(page, write(tmp_path / "nine.png", nine))
    logits = model.predict(nine[None], verbose=0)[0]
    page.locator("#result .kc-bar").nth(1).click()
    page.locator("#result select").select_option("4")  # before the answer to the click
    wait_for_class(page, "4")
    assert page.locator("#result [aria-pressed=true] .kc-name").inner_text() == "4"
    assert page.locator("#result select").input_value() == "4"
    assert sums(page)[2] == pytest.approx(float(logits[4]), abs=1e-3)
    assert page.evaluate("document.activeElement.dataset.kind") == "class", "an answer must not take the focus away"
    assert urlsplit(page.url).query == "network=coda_digits&class=4"
    page.locator("#gallery button").nth(5).click()
    page.wait_for_function("location.search.includes('example=5')")


def test_a_stroke_shows_the_new_map_and_the_new_probabilities_beside_the_old(page, model, nine, tmp_path):
    give(page, write(tmp_path / "nine.png", nine))
    page.locator(CANVAS).focus()
    for key in ("ArrowUp", "Space", "ArrowLeft", "Space"):  # from the middle: pixels (3, 4) and (3, 3)
        page.keyboard.press(key)
    wait_until_removed(page, "3.1%")
    assert "Column 4, row 4:" in page.locator(".kc-voice").inner_text()
    encoded = np.concatenate([nine / 255, 1 - nine / 255], axis=-1)
    encoded[3, 3:5] = 0
    real = encoded[None].astype("float32")
    for layer in model.layers[-5:]:
        real = layer(real) if type(layer).__name__ not in ("AddInverse", "InputLayer") else real
    logit = float(model.predict(nine[None], verbose=0)[0, 9])
    gone = float(model.explain(nine[None], 9, verbose=False).contributions[0, 0, 3, 3:5].sum())
    before, _, predicted, _, shown, *_ = numbers(page, "#what-if tbody")
    assert [before, predicted, shown] == pytest.approx([logit, logit - gone, float(real[0, 9])], abs=0.011)
    assert numbers(page, "#what-if .kc-difference")[0] == pytest.approx(shown - predicted, abs=0.011)
    after = float(1 / (1 + np.exp(-real[0, 9])))
    assert numbers(page, "#result [aria-pressed=true] .kc-after")[0] == pytest.approx(100 * after, abs=0.06)
    assert page.locator(AFTER).get_attribute("src") != page.locator(MAP).get_attribute("src")

    page.locator("#result .kc-bar").nth(1).click()  # the same pixels, for another class
    page.wait_for_function("document.querySelectorAll('#what-if b')[2].innerText !== '9'")
    page.keyboard.press("Control+z")
    wait_until_removed(page, "1.6%")
    page.get_by_role("button", name="Restore all").click()
    page.wait_for_selector("#what-if .kc-real", state="detached")
    page.get_by_role("button", name="Undo").click()
    wait_until_removed(page, "1.6%")


def test_an_event_is_sent_when_the_outcome_of_the_one_before_has_arrived(page):
    seen = []

    def note(what, request):
        name = urlsplit(request.url).path.removeprefix("/gradio_api/queue/")
        if (name, what) in (("join", "sent"), ("data", "sent"), ("data", "ended")):
            seen.append(f"{name} {what}")

    page.on("request", lambda request: note("sent", request))
    for ending in ("requestfinished", "requestfailed"):  # at its end Gradio aborts a stream
        page.on(ending, lambda request: note("ended", request))
    page.locator(CANVAS).focus()
    for key in ("Space", "ArrowLeft") * 4:
        page.keyboard.press(key)
    wait_until_removed(page, "6.2%")
    seen = seen[seen.index("join sent") :]  # without the end of what the page has asked for when it was opened
    assert seen[:11] == (["join sent", "data sent", "data ended"] * 4)[:11]


def test_the_brush_paints_with_the_mouse_and_is_reset_by_another_image(page, nine, tmp_path):
    stroke(page, (0.1, 0.55), (0.9, 0.55))
    assert page.locator("#what-if b").first.inner_text() == "12.5%"  # a row of eight
    give(page, write(tmp_path / "nine.png", nine))
    page.wait_for_selector(AFTER, state="detached")
    assert page.locator("#what-if .kc-real").count() == 0
    assert "0 removed" in page.locator(CANVAS).get_attribute("aria-label")
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_the_pixel_under_the_pointer_is_marked_on_all_pictures_and_read(page, model):
    zero = examples(1)[0].image((8, 8), 1)
    box = page.locator(MAP).bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])  # column 3, row 5
    text = page.locator(".kc-readout").inner_text()
    assert text.startswith("Column 3, row 5:")
    assert text.endswith("for “0”).") or text.endswith("against “0”).")
    value = float(text.split(": ")[1].split(" (")[0].replace("−", "-").replace("+", ""))
    expected = model.explain(zero[None], 0, verbose=False).contributions[0, 0, 4, 2]
    assert value == pytest.approx(float(expected), rel=0.06, abs=1e-6)  # two digits
    crosses = page.locator("#stage .kc-cross:visible")
    assert crosses.count() == 2
    assert crosses.first.evaluate("each => each.style.left") == "25%"
    page.locator(".kc-opacity").fill("40")
    assert page.locator(MAP).evaluate("each => each.style.opacity") == "0.4"
    page.mouse.move(0, 0)
    assert page.locator("#stage .kc-cross:visible").count() == 0


def test_a_bad_file_keeps_the_image_and_a_large_one_is_not_sent(page, temporary, tmp_path):
    before = page.locator(MAP).get_attribute("src")
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    page.set_input_files("#upload-source input[type=file]", bad)
    told = page.wait_for_selector("#message .kc-part [role=alert]").inner_text()
    assert "An image must be readable. Received: 'bad.png'" in told
    assert "Save it again as PNG or JPEG" in told
    large = write(tmp_path / "large.png", np.random.default_rng(0).integers(0, 256, (800, 800, 3)))
    page.set_input_files("#upload-source input[type=file]", large)
    page.get_by_text("An image file may have up to 1 MiB. Received: 'large.png'.").wait_for()
    assert page.locator(MAP).get_attribute("src") == before
    page.locator("#result .kc-bar").nth(1).click()  # still alive
    page.wait_for_selector("#result .kc-bar:nth-child(2)[aria-pressed=true]")
    assert page.locator("#message .kc-message:visible").count() == 0
    assert uploads(temporary) == []


def test_percentile_style_and_scale_change_colors_only(page, temporary):
    source, table = page.locator(MAP).get_attribute("src"), page.locator("#tables").inner_text()
    box = page.locator(".kc-percentile")
    for typed, told in (("8", "Received: '8'. It stays 99.5."), ("", "Received: nothing. It stays 99.5.")):
        box.fill(typed)
        page.keyboard.press("Enter")
        page.get_by_text(told).wait_for()
        assert box.input_value() == "99.5"
    box.press("ControlOrMeta+a")
    box.press_sequentially("85")
    page.keyboard.press("Tab")
    page.wait_for_function(f"document.querySelector('{MAP}').src !== '{source}'")
    assert "percentile=85" in page.url
    source = page.locator(MAP).get_attribute("src")
    page.get_by_label("linear map in color").check()
    page.wait_for_function(f"document.querySelector('{MAP}').src !== '{source}'")
    assert page.locator("#tables").inner_text() == table
    assert "linear map in color" in page.locator(MAP).get_attribute("alt")
    assert box.input_value() == "90"
    assert "Orange: a brighter pixel" in page.locator("#stage").inner_text()
    assert "Traceback" not in (temporary / "stderr.txt").read_text()


# === Grid ===


def test_grids(page, nine, temporary, tmp_path):
    page.get_by_role("tab", name="Grid").click()
    page.get_by_role("button", name="Nine examples").click()
    page.wait_for_selector("#grid img")
    shares = page.locator("#grid-result .kc-share")
    assert sum(float(each.rstrip("%")) for each in shares.all_inner_texts()) == pytest.approx(100, abs=0.5)
    page.locator("#grid-result select").select_option("6")
    page.get_by_text("was asked for “6”").wait_for()
    assert np.argmax([float(each.rstrip("%")) for each in shares.all_inner_texts()]) == 6
    page.get_by_label("Replace digit 1").set_input_files(write(tmp_path / "nine.png", nine))
    page.get_by_role("button", name="Remove nine.png").click()
    page.wait_for_function("document.querySelectorAll('#grid-result tbody tr td:first-child').length === 9")
    page.get_by_text("empty (gray)").wait_for()
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8")
    page.set_input_files("#cells-source input[type=file]", [tmp_path / "bad.jpg"])
    assert "bad.jpg" in page.wait_for_selector("#message .kc-part [role=alert]").inner_text()
    assert page.locator("#grid-result tbody tr").count() == 9
    assert uploads(temporary) == []


@pytest.mark.parametrize("tab", ["One image", "Grid"])
def test_downloads(page, tab, temporary, tmp_path):
    is_grid = tab == "Grid"
    if is_grid:
        page.get_by_role("tab", name="Grid").click()
        page.get_by_role("button", name="Nine examples").click()
        page.wait_for_selector("#grid img")
    result = "#grid-result" if is_grid else "#result"
    for kind in ("png", "npz"):
        with page.expect_download() as download:
            page.locator(f"{result} [data-file={kind}]").click()
        assert download.value.suggested_filename.startswith("grid-coda_digits-" if is_grid else "digit-0-coda_digits-0")
        download.value.save_as(tmp_path / f"file.{kind}")
    assert Image.open(tmp_path / "file.png").width > 300
    explanation = Explanation.load(tmp_path / "file.npz")
    total = explanation.contributions.sum((2, 3)) + explanation.bias
    assert total == pytest.approx(explanation.explained_logits, abs=1e-3)
    assert explanation.images.shape == (1, *((24, 24) if is_grid else (8, 8)), 1)
    assert uploads(temporary) == []


# === Visitors ===


def test_two_visitors_do_not_see_each_other(page, chrome, address, nine, tmp_path):
    other = explorer_browser.open_page(chrome, f"{address}?network=coda_digits&example=3&class=8&scale=own")
    assert other.locator("#result [aria-pressed=true] .kc-name").inner_text() == "8"
    assert not other.locator(".kc-same").is_checked()
    give(page, write(tmp_path / "nine.png", nine))
    assert "digit 3" in other.locator(CANVAS).get_attribute("aria-label")
    other.context.close()


def test_an_own_network_of_any_size_and_a_photo_with_its_frame(page, tmp_path):
    image = write(tmp_path / "wide.png", np.random.default_rng(0).integers(0, 256, (20, 600, 3)))
    give(page, image)
    assert "600x20 pixels; the network sees what is in the frame" in page.locator("#original").inner_text()
    page.locator("#controls select").select_option("traffic")
    page.wait_for_selector(f"{CANVAS}[aria-label*='256 by 9 pixels']")
    assert "any size" in page.locator("#controls").inner_text()
    assert "<stop>" in page.locator("#result").inner_text()  # as text
    assert "the network sees all of it" in page.locator("#original").inner_text()


def test_a_camera(page):
    page.get_by_role("button", name="Camera").first.click()
    page.wait_for_function("document.querySelector('#upload-source video').videoWidth > 0")
    page.get_by_role("button", name="Take the picture").click()
    page.wait_for_selector(f"{CANVAS}[aria-label*='camera.png']")
    assert page.locator(MAP).count() == 1


def test_a_phone_has_image_and_map_on_one_screen_and_scrolls_until_asked_to_paint(chrome, address):
    page = explorer_browser.open_page(chrome, address, width=390, height=844, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    image, shown_map = (page.locator(name).bounding_box() for name in (CANVAS, MAP))
    for box in (image, shown_map):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844, "both on the first screen"
        assert box["width"] > 150
    assert not page.locator(".kc-percentile").is_visible(), "the controls are folded"

    def swipe():
        touch = page.context.new_cdp_session(page)
        x, y = image["x"] + 0.5 * image["width"], image["y"] + 0.8 * image["height"]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 5):
            points = [{"x": x, "y": y - 0.12 * step * image["height"]}]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe()
    assert ", 0 removed" in page.locator(CANVAS).get_attribute("aria-label")
    assert page.locator(CANVAS).evaluate("each => getComputedStyle(each).touchAction") == "pan-y pinch-zoom"
    page.evaluate("scrollTo(0, 0)")
    page.locator(".kc-paint").tap()
    page.evaluate("scrollTo(0, 0)")
    swipe()
    page.wait_for_selector("#what-if .kc-real")
    page.context.close()
