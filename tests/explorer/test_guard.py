"""Claims about requests that the explorer refuses: of other sites, and for more than the disk should hold."""

import asyncio
import os
import time

import pytest

from keras_coda.explorer.guard import MAX_FILES, OLD, Guard
from keras_coda.utils.listening import is_loopback

OWN = "127.0.0.1:7860"


def ask(folder, path="/config", method="GET", host="127.0.0.1", kind="http", app=None, **headers):
    """Return the status of the answer to one request; 200 if it was let through."""
    sent = []

    async def let_through(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(event):
        sent.append(event)

    headers = {"host": OWN, **{name.lower().replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value is not None]
    guard = app or Guard(let_through, host=host, folder=folder, max_upload=100)
    asyncio.run(guard({"type": kind, "path": path, "method": method, "headers": raw}, None, send))
    if kind == "websocket":
        return sent[0].get("code", 200)
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    return sent[0]["status"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST:8000", "[::1]:7860", "127.0.0.2", "127.0.0.1:1"])
def test_this_machine_is_answered_under_all_its_names(tmp_path, name):
    assert ask(tmp_path, host="::1" if "[" in name else "127.0.0.1", Host=name) == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0:7860",
             "[::]:7860", "192.168.1.5", "127.0.0.1@evil.example", "", None, "[bad", "2130706433", "user:pw@x"]
)  # fmt: skip
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_other_hosts_are_refused_on_loopback(tmp_path, name, host):
    for path, method in (("/config", "GET"), ("/gradio_api/upload", "POST"), ("/gradio_api/queue/join", "POST")):
        assert ask(tmp_path, path, method, host, Host=name, content_length="5") == 403
    assert ask(tmp_path, host=host, Host=name, kind="websocket") == 1008


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://evil.example:7860", "null", "", "http://127.0.0.1:9999", "http://localhost:7860",
               "http://127.0.0.1", "file://"]
)  # fmt: skip
def test_pages_of_other_sites_are_refused_on_loopback(tmp_path, origin):
    assert ask(tmp_path, "/gradio_api/upload", "POST", origin=origin, content_length="5") == 403
    assert ask(tmp_path, origin=origin) == 403


def test_the_own_page_is_answered(tmp_path):
    assert ask(tmp_path, "/gradio_api/upload", "POST", origin=f"http://{OWN}", content_length="5") == 200
    assert ask(tmp_path, origin="https://localhost:8443", Host="localhost:8443") == 200  # a tunnel with TLS


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_where_other_machines_may_ask_any_name_is_answered(tmp_path, host):
    assert ask(tmp_path, host=host, Host="lab-7:7860", origin="https://proxy.example") == 200


def test_loopback_is_known_by_address_and_name():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "8.8.8.8", "", "no.such.host.invalid", "a" * 300)))


@pytest.mark.parametrize("path", ["/file=http://x", "/gradio_api/file=HTTP://x", "/gradio_api/proxy=http://x"])
def test_addresses_are_not_fetched(tmp_path, path):
    assert ask(tmp_path, path) == 404


# === The disk; files have at most 100 bytes here ===


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/gradio_api/upload", None, 411),
        ("/gradio_api/upload", "many", 411),
        ("/gradio_api/upload", "-5", 411),
        ("/gradio_api/upload", "³", 411),
        ("/gradio_api/upload", str(100 * MAX_FILES), 200),
        ("/gradio_api/upload/", str(100 * MAX_FILES + 1), 413),
        ("/gradio_api/queue/join", "100", 200),
        ("/gradio_api/queue/join", "101", 413),
    ],
)
def test_content_is_limited(tmp_path, path, size, status):
    assert ask(tmp_path, path, "POST", content_length=size) == status


def test_the_folder_for_uploads_is_limited(tmp_path):
    folder = tmp_path / "hash"
    folder.mkdir()
    (folder / "a.png").write_bytes(bytes(100 * MAX_FILES - 50))
    assert ask(tmp_path, "/upload", "POST", content_length="50") == 200
    assert ask(tmp_path, "/upload", "POST", content_length="51") == 503
    os.utime(folder / "a.png", (0, time.time() - OLD - 1))  # nobody has asked for it
    assert ask(tmp_path, "/upload", "POST", content_length="51") == 200
    assert not folder.exists()


def test_uploads_under_way_count(tmp_path):
    statuses = []

    async def slow(scope, receive, send):
        statuses.append(None)
        if len(statuses) == 1:  # another upload, while this one is under way
            await guard({**scope}, receive, collect)

    async def collect(event):
        statuses.append(event.get("status"))

    guard = Guard(slow, host="127.0.0.1", folder=tmp_path, max_upload=100)
    headers = [(b"host", OWN.encode()), (b"content-length", b"%d" % (60 * MAX_FILES))]
    scope = {"type": "http", "path": "/upload", "method": "POST", "headers": headers}
    asyncio.run(guard(scope, None, collect))
    assert 503 in statuses
    statuses.clear()
    statuses.append(None)
    asyncio.run(guard(scope, None, collect))
    assert 503 not in statuses  # the first has ended
