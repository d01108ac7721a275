"""Claims about the page as Gradio builds it, and the files that browsers run."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_page_is_built_and_gradio_writes_nothing_beside_it(networks):
    pytest.importorskip("gradio", reason="needs keras-coda[explore]")
    from keras_coda.explorer import page as explorer_page

    page = explorer_page.build(networks)
    assert all(event.api_visibility == "private" for event in page.fns.values() if event.fn is not None)
    events = [event for event in page.fns.values() if event.fn is not None and event.outputs]
    assert len(events) > 10
    assert {(event.concurrency_id, event.concurrency_limit) for event in events} == {("page", 1)}, "in their order"
    assert not list((ROOT / "keras_coda" / "explorer").glob("*.pyi"))
