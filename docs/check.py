"""Look at the built site in a browser: ``make docs`` writes ``site/``, ``python -m docs.check [PAGE ...]`` checks it.

Every page, at the width of a phone: no request leaves the machine, nothing is wider than the screen, no formula is left
as LaTeX, no name in a table is broken, no script fails, and axe-core finds no serious violation. Chromium
is needed.
"""

import http.server
import sys
import threading
from functools import partial
from pathlib import Path

from tests.helpers import explorer_browser

SITE = Path(__file__).resolve().parent.parent / "site"
WIDTH, HEIGHT = 390, 844
SERIOUS = ("serious", "critical")
_IS_WIDE = "document.documentElement.scrollWidth > window.innerWidth"
_NAMES = r"[...document.querySelectorAll('td code')].filter(e => /^\w+$/.test(e.textContent))"
_BROKEN = f"{_NAMES}.filter(e => e.getClientRects().length > 1).length"
_LEFT = r"[...document.querySelectorAll('.arithmatex')].filter(e => !e.querySelector('.katex')).length"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def pages(site: Path) -> list[str]:
    """Return the addresses of all pages, relative to the site."""
    return sorted(path.parent.relative_to(site).as_posix() for path in site.rglob("index.html"))


def check(site: Path, browser, names: list[str] | None = None, scheme: str = "light") -> list[str]:
    """Return one line for each fault of a built site.

    Args:
        site: folder that ``mkdocs build`` wrote.
        browser: a browser of Playwright.
        names: addresses of pages; all by default.
        scheme: ``"light"`` or ``"dark"``.
    """
    from axe_playwright_python.sync_playwright import Axe

    faults: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme).new_page()

    def route(request):
        if request.request.url.startswith(home):
            return request.continue_()
        faults.append(f"{page.url}: asks {request.request.url}")
        return request.abort()

    page.route("**/*", route)
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
    for name in names if names is not None else pages(site):
        page.goto(f"{home}/{name}/", wait_until="load")
        if page.evaluate(_IS_WIDE):
            faults.append(f"{name}: wider than {WIDTH} pixels")
        if broken := page.evaluate(_BROKEN):
            faults.append(f"{name}: {broken} names in tables are broken into lines")
        if left := page.evaluate(_LEFT):
            faults.append(f"{name}: {left} formulas are not drawn")
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in SERIOUS:
                where = "; ".join(" ".join(node["target"]) for node in found["nodes"][:3])
                faults.append(f"{name}: {found['id']}: {found['help']} ({len(found['nodes'])}: {where})")
    server.shutdown()
    return faults


def main() -> int:
    """Check the site and print its faults; without Chromium, say so."""
    if explorer_browser.chromium() is None:
        print("The site was not checked: there is no Chromium.", file=sys.stderr)
        return 0
    with explorer_browser.browser() as browser:
        faults = check(SITE, browser, sys.argv[1:] or None) + check(SITE, browser, ["."], "dark")
    print(*faults, f"{len(sys.argv[1:] or pages(SITE))} pages, {len(faults)} faults", sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
