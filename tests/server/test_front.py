"""What the server refuses before it reads a request, without KServe."""

import asyncio
import json

import pytest

from keras_coda.server.front import Front

PATH = "/v1/models/m:predict"


async def application(scope, receive, send):
    """Answer with the path and the length of the body."""
    event = await receive()
    assert not event["more_body"]
    answer = json.dumps([scope["path"], scope["raw_path"].decode(), len(event["body"])]).encode()
    await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer})


async def ask(front, path, parts=(), size=None, method="POST"):
    """Return status and answer; the body comes in parts, and None among them ends the connection."""
    events = [{"type": "http.request", "body": part, "more_body": True} for part in parts if part is not None]
    if None in parts:
        events.append({"type": "http.disconnect"})
    elif parts and b"" in parts:
        events[-1]["more_body"] = False
    sent = []

    async def receive():
        if not events:
            await asyncio.sleep(60)
        return events.pop(0)

    async def send(event):
        sent.append(event)

    length = [] if size is None else [(b"content-length", str(size).encode())]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": length}
    await front(scope, receive, send)
    return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else None


def front(**options):
    return Front(application, name="m", version=3, max_bytes=10, **options)


@pytest.mark.parametrize("path", [PATH, "/v1/models/m/versions/3:predict"])
def test_a_body_in_parts_arrives_whole_and_without_the_version(path):
    counted = []
    answer = asyncio.run(ask(front(count=lambda *seen: counted.append(seen)), path, (b"abc", b"de", b""), 5))
    assert answer == (200, [PATH, PATH, 5])
    assert counted == [(path, 200)]


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        (PATH, None, 411),
        (PATH, "-1", 411),
        (PATH, "five", 411),
        (PATH, 11, 413),
        (PATH, 10**30, 413),
        ("/v1/models/m/versions/2:predict", 1, 404),
        ("/v1/models/m/labels/stable:predict", 1, 404),
        ("/v1/models/n:predict", 1, 404),
        ("/v2/repository/models/m/unload", 0, 404),
    ],
)
def test_what_there_is_no_room_or_no_model_for_is_not_read(path, size, status):
    found, answer = asyncio.run(ask(front(max_seconds=0.05), path, (), size))
    assert found == status
    assert "Received: " in answer["error"]


def test_of_a_body_that_is_too_large_the_rest_is_dropped_before_the_answer():
    parts = [b"0123456789", b"ab", b""]
    assert asyncio.run(ask(front(), PATH, parts, 12))[0] == 413


def test_a_body_that_stops_coming_is_not_waited_for():
    status, answer = asyncio.run(ask(front(max_seconds=0.05), PATH, (b"abc",), 5))
    assert status == 408
    assert "within 0.05 s" in answer["error"]


def test_a_caller_that_goes_gets_no_answer():
    assert asyncio.run(ask(front(), PATH, (b"abc", None), 5)) is None


def test_requests_at_a_time_have_a_limit_together_and_later_ones_none():
    async def many():
        shared = front()
        found = await asyncio.gather(*(ask(shared, PATH, (b"0123456789", b""), 10) for _ in range(12)))
        return [status for status, _ in found], (await ask(shared, PATH, (b"0123456789", b""), 10))[0]

    statuses, later = asyncio.run(many())
    assert (statuses.count(200), statuses.count(503), later) == (8, 4, 200)
