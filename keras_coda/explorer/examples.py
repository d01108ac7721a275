"""Example images: scanned digits for networks of gray images, drawings for networks of color images."""

import functools

import numpy as np
from PIL import Image, ImageDraw

from keras_coda.data.digits import all_digits
from keras_coda.explorer.sessions import Picture

SIDE, SCALE = 32, 4  # drawings are made SCALE times larger, then averaged
# A drawing is the color of its background, then shapes on a canvas of 128x128: kind, coordinates, color.
_DRAWINGS: dict[str, tuple[str, list[tuple]]] = {
    "airplane": ("#8fbbe8", [
        ("ellipse", (14, 56, 116, 74), "#eef0f2"),
        ("polygon", (58, 66, 30, 98, 46, 98, 80, 68), "#cfd5da"),
        ("polygon", (62, 60, 48, 36, 58, 36, 82, 60), "#dfe4e8"),
        ("polygon", (18, 62, 8, 40, 20, 40, 34, 60), "#b33939"),
    ]),
    "automobile": ("#c9d3da", [
        ("rectangle", (0, 92, 128, 128), "#6b6b6b"),
        ("polygon", (34, 62, 46, 40, 86, 40, 102, 62), "#8c1d18"),
        ("polygon", (42, 60, 51, 45, 64, 45, 64, 60), "#bfd9ea"),
        ("polygon", (68, 60, 68, 45, 83, 45, 93, 60), "#bfd9ea"),
        ("rectangle", (10, 60, 118, 92), "#c0281f"),
        ("ellipse", (20, 78, 48, 106), "#1c1c1c"), ("ellipse", (28, 86, 40, 98), "#b8b8b8"),
        ("ellipse", (80, 78, 108, 106), "#1c1c1c"), ("ellipse", (88, 86, 100, 98), "#b8b8b8"),
    ]),
    "ship": ("#9cc3e6", [
        ("rectangle", (0, 84, 128, 128), "#2f5f8a"),
        ("polygon", (14, 76, 116, 76, 102, 98, 28, 98), "#3a3a44"),
        ("rectangle", (40, 58, 84, 76), "#f2f2f0"),
        ("rectangle", (58, 38, 70, 58), "#c0392b"),
        ("rectangle", (90, 50, 94, 76), "#555555"),
    ]),
    "truck": ("#dfe6ea", [
        ("rectangle", (0, 98, 128, 128), "#7a766e"),
        ("rectangle", (6, 28, 82, 88), "#f4f4f4"),
        ("rectangle", (6, 80, 122, 92), "#33363a"),
        ("polygon", (84, 88, 84, 46, 106, 46, 120, 68, 120, 88), "#2456a8"),
        ("polygon", (90, 64, 90, 51, 104, 51, 112, 64), "#cfe4f2"),
        ("ellipse", (14, 80, 38, 104), "#17181a"), ("ellipse", (48, 80, 72, 104), "#17181a"),
        ("ellipse", (90, 80, 114, 104), "#17181a"),
    ]),
    "horse": ("#a9c4a0", [
        ("rectangle", (0, 92, 128, 128), "#6f9a4a"),
        ("ellipse", (30, 50, 104, 84), "#5a3a22"),
        ("rectangle", (38, 78, 45, 116), "#4a2f1b"), ("rectangle", (50, 78, 57, 116), "#4a2f1b"),
        ("rectangle", (84, 78, 91, 116), "#4a2f1b"), ("rectangle", (94, 78, 101, 116), "#4a2f1b"),
        ("polygon", (92, 60, 104, 26, 116, 30, 104, 68), "#5a3a22"),
        ("polygon", (102, 26, 124, 40, 120, 48, 104, 38), "#5a3a22"),
        ("polygon", (90, 56, 100, 22, 104, 26, 96, 58), "#1d120a"),
        ("polygon", (34, 56, 20, 62, 18, 92, 26, 90), "#1d120a"),
    ]),
    "deer": ("#4e6b35", [
        ("rectangle", (0, 96, 128, 128), "#6e7d3a"),
        ("ellipse", (34, 54, 100, 84), "#9a6a3c"),
        ("rectangle", (42, 78, 47, 114), "#7d5430"), ("rectangle", (52, 78, 57, 114), "#7d5430"),
        ("rectangle", (82, 78, 87, 114), "#7d5430"), ("rectangle", (92, 78, 97, 114), "#7d5430"),
        ("polygon", (38, 66, 22, 40, 34, 36, 52, 58), "#9a6a3c"),
        ("ellipse", (10, 28, 36, 44), "#8c5f35"),
        ("polygon", (27, 28, 29, 28, 23, 8, 21, 8), "#d8c7a0"),
        ("polygon", (31, 28, 33, 28, 41, 8, 39, 8), "#d8c7a0"),
    ]),
    "frog": ("#7a6a4a", [
        ("ellipse", (24, 50, 104, 108), "#4f8a2f"), ("ellipse", (34, 34, 94, 78), "#5fa038"),
        ("ellipse", (36, 24, 56, 46), "#5fa038"), ("ellipse", (72, 24, 92, 46), "#5fa038"),
        ("ellipse", (41, 29, 51, 40), "#111111"), ("ellipse", (77, 29, 87, 40), "#111111"),
        ("ellipse", (10, 90, 44, 112), "#467d2a"), ("ellipse", (84, 90, 118, 112), "#467d2a"),
    ]),
    "bird": ("#b8d3e6", [
        ("rectangle", (0, 98, 128, 106), "#6b4a2b"),
        ("polygon", (30, 66, 4, 84, 8, 92, 44, 84), "#6a5238"),
        ("ellipse", (26, 46, 92, 92), "#8a6b4a"), ("ellipse", (70, 28, 106, 64), "#8a6b4a"),
        ("ellipse", (52, 58, 90, 90), "#d9c6a8"),
        ("polygon", (103, 42, 122, 48, 103, 53), "#e0a020"), ("ellipse", (88, 38, 96, 46), "#111111"),
        ("rectangle", (56, 90, 59, 100), "#e0a020"), ("rectangle", (66, 90, 69, 100), "#e0a020"),
    ]),
    "cat": ("#b9a48c", [
        ("ellipse", (26, 70, 104, 150), "#55504c"),
        ("polygon", (34, 56, 36, 12, 64, 36), "#55504c"), ("polygon", (94, 56, 92, 12, 64, 36), "#55504c"),
        ("polygon", (39, 44, 40, 22, 54, 36), "#c99a92"), ("polygon", (89, 44, 88, 22, 74, 36), "#c99a92"),
        ("ellipse", (30, 30, 98, 92), "#6a645f"),
        ("ellipse", (42, 50, 58, 64), "#c8d060"), ("ellipse", (70, 50, 86, 64), "#c8d060"),
        ("ellipse", (48, 50, 53, 64), "#111111"), ("ellipse", (75, 50, 80, 64), "#111111"),
        ("ellipse", (50, 66, 78, 88), "#d8d2cc"), ("polygon", (59, 68, 69, 68, 64, 75), "#a05a5a"),
    ]),
}  # fmt: skip


@functools.cache
def examples(channels: int) -> tuple[Picture, ...]:
    """Return nine pictures: for one channel one digit each of 0 to 8, for three channels the drawings."""
    if channels == 1:
        images, labels = all_digits()
        return tuple(Picture.of(f"digit {digit}", images[labels == digit][0]) for digit in range(9))
    return tuple(Picture.of(f"{name}, drawn", drawing(name)) for name in _DRAWINGS)


def drawing(name: str) -> np.ndarray:
    """Return the pixels of a drawing, ``(32, 32, 3)`` uint8."""
    ground, shapes = _DRAWINGS[name]
    image = Image.new("RGB", (SIDE * SCALE,) * 2, ground)
    draw = ImageDraw.Draw(image)
    for kind, coordinates, color in shapes:
        getattr(draw, kind)(coordinates, fill=color)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
