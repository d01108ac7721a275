"""How maps are drawn, and the address of a page, which has these settings and what is explained."""

import dataclasses
import math
from collections.abc import Mapping
from urllib.parse import urlencode

from keras_coda.utils.checks import require

STYLES = ("contributions", "linear map in color")
PERCENTILES = dict(zip(STYLES, (99.5, 90.0), strict=True))  # the defaults of the figures
RANGE = (50, 100)  # of the percentile
TABS = ("one", "grid")


@dataclasses.dataclass(frozen=True)
class View:
    """How maps are drawn.

    Attributes:
        style: one of ``STYLES``.
        percentile: in ``RANGE``: colors (of linear maps the opacity) end at this percentile of the values of a map.
        same_scale: whether the colors of all classes of an image end where those of its most probable class do.
    """

    style: str = STYLES[0]
    percentile: float = PERCENTILES[STYLES[0]]
    same_scale: bool = True

    def changed(self, name: str, value) -> "View":
        """Return the view with one setting changed, as a page sends it; another style sets its own percentile.

        Args:
            name: ``"style"``, ``"percentile"`` or ``"scale"``.
            value: text of the setting.

        Raises:
            ValueError: for other settings and values; the message says what stays.
        """
        if name == "style":
            require(value in STYLES, f"The rendering must be one of {STYLES}", style=value)
            return dataclasses.replace(self, style=value, percentile=PERCENTILES[value])
        if name == "scale":
            require(value in ("same", "own"), "The scale must be 'same' or 'own'", scale=value)
            return dataclasses.replace(self, same_scale=value == "same")
        require(name == "percentile", "A setting must be a style, a percentile or a scale", name=name)
        return dataclasses.replace(self, percentile=self._percentile(value))

    def of_map(self, explanation) -> "View":
        """Return how an explanation is drawn: features of a conventional trunk have no colors, unlike pixels."""
        return self if explanation.wrt is None else dataclasses.replace(self, style=STYLES[0])

    def _percentile(self, value):
        low, high = RANGE
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not low <= number <= high:  # also for NaN
            shown = "nothing" if value in (None, "") else f"'{str(value)[:20]}'"
            rule = f"The percentile must be a number from {low} to {high}"
            raise ValueError(f"{rule}. Received: {shown}. It stays {self.percentile:g}.")
        return number

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "View":
        """Return the view that the address of a page asks for; wrong values are left out."""
        view = cls()
        for name in ("style", "percentile", "scale"):
            if name in query:
                try:
                    view = view.changed(name, query[name])
                except ValueError:
                    continue
        return view

    def query(self) -> dict[str, str]:
        """Return the settings that differ from the defaults, as the address of a page has them."""
        values = {}
        if self.style != STYLES[0]:
            values["style"] = self.style
        if self.percentile != PERCENTILES[self.style]:
            values["percentile"] = f"{self.percentile:g}"
        return values if self.same_scale else values | {"scale": "own"}


def address(session) -> str:
    """Return the query of the address that opens what a page shows: ``"?network=..."``. Uploads are not part of it.

    Args:
        session: a :class:`~keras_coda.explorer.sessions.Session`.
    """
    values = {"network": session.network}
    if session.example is not None:
        values["example"] = str(session.example)
    if session.explanation is not None and session.explanation.classes[0, 0] != session.top.classes[0, 0]:
        values["class"] = str(session.explanation.classes[0, 0])
    if session.tab != TABS[0]:
        values["tab"] = session.tab
    return f"?{urlencode(values | session.view.query())}"
