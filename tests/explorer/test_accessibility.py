"""Claims about the explorer for people who do not see it, or see it another way."""

import pytest

from tests.helpers import explorer_browser

pytestmark = explorer_browser.MARKS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chrome, address, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs keras-coda[test]").Axe()
    page = explorer_browser.open_page(chrome, address, color_scheme=scheme)
    explorer_browser.stroke(page, (0.1, 0.55), (0.9, 0.55))
    page.locator(".kc-words summary").click()
    for tab in ("One image", "Grid"):
        if tab == "Grid":
            page.get_by_role("tab", name=tab).click()
            page.get_by_role("button", name="Nine examples").click()
            page.wait_for_selector("#grid img")
        found = axe.run(page).response["violations"]
        assert [(each["id"], each["impact"]) for each in found if each["impact"] in ("serious", "critical")] == [], tab
        levels = page.locator("h1:visible, h2:visible, h3:visible").evaluate_all(
            "all => all.map((each) => each.tagName)"
        )
        assert levels[0] == "H1"
        assert set(levels[1:]) == {"H2"}, tab
    page.context.close()


def test_changes_are_announced(page):
    for selector, name in (("#said [aria-live=polite]", "answer"), ("#message [aria-live=assertive]", "errors"),
                           ("#message [role=status]", "waiting"), ("#stage [aria-live=polite]", "pixels")):  # fmt: skip
        assert page.locator(selector).count() == 1, name
    page.locator("#gallery button").nth(4).click()
    page.get_by_text("The network's answer: 4 (").wait_for()
    page.locator("#stage canvas").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#stage [aria-live]").inner_text().startswith("Column 6, row 5: ")


def test_all_of_it_is_reached_by_the_keyboard_and_no_list_stays_open(page):
    page.locator("#network, #controls select").first.focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("(each => each.dataset?.kind || each.className || each.tagName)(document.activeElement)")
        )
    assert {"view", "example", "class", "save"} <= reached
    assert any("kc-canvas" in each for each in reached)
    assert any("kc-opacity" in each for each in reached)
    assert page.locator("[role=listbox]").count() == 0
