"""Pictures of the explorer, taken in a headless Chromium.

``python -m docs.explorer_pictures`` writes both pictures. It needs ``keras-coda[test]`` and Chromium. With the same
network and the same fonts it writes the same pictures.
"""

import tempfile
from pathlib import Path

from PIL import Image

from docs.pictures import FOLDER, check_size
from tests.helpers import explorer_browser

# Width and height of the windows, in pixels of the page.
PICTURES = {"explorer": (1280, 960), "explorer_phone": (390, 844)}


def main() -> None:
    """Take the pictures.

    Raises:
        RuntimeError: if a picture is too large for the repository.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        explorer_browser.server(Path(folder), "--model", "coda_xs_cifar10") as address,
        explorer_browser.browser() as chrome,
    ):
        for name, size in PICTURES.items():
            page = explorer_browser.open_page(chrome, address, *size)
            explorer_browser.stroke(page, (0.35, 0.5), (0.75, 0.5))
            page.mouse.move(0, 0)
            path = FOLDER / f"{name}.png"
            page.screenshot(path=path, full_page=True)
            with Image.open(path) as image:
                image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
            page.context.close()
            check_size(path)


if __name__ == "__main__":
    main()
