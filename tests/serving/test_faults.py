import threading

import numpy as np
import pytest

from keras_coda import serving
from tests.helpers.networks import pixels
from tests.helpers.serving_helpers import RGB, assert_close, connect
from tests.helpers.serving_json import Refused

pytestmark = pytest.mark.slow

ALL_CLASSES = np.array([[2, 0]])


def altered(name, change):
    def alter(outputs):
        outputs = {key: np.array(value) for key, value in outputs.items()}
        outputs[name] = change(outputs[name])
        return {key: value for key, value in outputs.items() if value is not None}

    return alter


def changed(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("contributions", changed((1, 0, 2, 3), 5.0), serving.IncompleteMaps),
        ("contributions", lambda maps: maps[::-1], serving.IncompleteMaps),
        ("contributions", lambda maps: maps * np.float32(1.001) + np.float32(0.001), serving.IncompleteMaps),
        ("contributions", changed((1, 0, 2, 3), np.nan), serving.InvalidAnswer),
        ("contributions", lambda maps: maps[:, :, :, :-1], serving.InvalidAnswer),
        ("contributions", lambda maps: maps[:, :1], serving.InvalidAnswer),
        ("contributions", lambda maps: None, serving.InvalidAnswer),
        ("contributions", lambda maps: maps.sum((2, 3)), serving.InvalidAnswer),
        ("logits", changed((0, 1), 3.0), serving.InvalidAnswer),
        ("logits", lambda logits: logits[:-1], serving.InvalidAnswer),
        ("probabilities", lambda probabilities: 1 - probabilities, serving.InvalidAnswer),
        ("classes", changed((0, 0), 3), serving.InvalidAnswer),
        ("classes", lambda classes: classes[:, ::-1], serving.InvalidAnswer),
        ("classes", lambda classes: classes.astype("float32"), serving.InvalidAnswer),
        ("class_names", changed((0, 0), b"\xff"), serving.InvalidAnswer),
        ("class_names", lambda names: np.zeros(names.shape, "int32"), serving.InvalidAnswer),
        ("bias", lambda bias: bias + np.float32(1), serving.IncompleteMaps),
        ("bias", changed(1, 1.0), serving.InvalidAnswer),
        ("residual", lambda residual: None, serving.InvalidAnswer),
        ("linear_map", lambda linear_map: linear_map[..., :-1], serving.InvalidAnswer),
        ("linear_map", changed((0, 0, 0, 0, 0), np.inf), serving.InvalidAnswer),
    ],
)
def test_a_server_that_alters_an_explanation_is_caught(client, double, name, change, error):
    client.explain(pixels(3, RGB))
    double.alter = altered(name, change)
    with pytest.raises(serving.InvalidAnswer) as caught:
        client.explain(pixels(3, RGB))
    assert type(caught.value) is error
    assert double.counts["predict"] == 2  # the same answer would come again


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("top_classes", lambda top: top[:, ::-1]),
        ("top_classes", changed((0, 0), -1)),
        ("top_probabilities", changed((0, 0), 0.123)),
        ("top_class_names", lambda names: names[:, :1]),
        ("logits", changed((0, 0), np.nan)),
        ("logits", lambda logits: logits[:, :2]),
    ],
)
def test_a_server_that_alters_a_prediction_is_caught(client, double, name, change):
    double.alter = altered(name, change)
    with pytest.raises(serving.InvalidAnswer, match="Received: "):
        client.predict(pixels(3, RGB))


def test_other_classes_than_those_asked_for_are_caught(client, double):
    double.alter = altered("classes", lambda classes: (classes + 1) % 3)
    with pytest.raises(serving.InvalidAnswer, match="be those asked for"):
        client.explain(pixels(1, RGB), ALL_CLASSES)


@pytest.mark.parametrize("answer", [b"", b"no json", b"[1]", b"null", b"{}", b'{"outputs": [1, 2]}', b"[" * 100000,
                                    b'{"outputs": {"logits": [[1, 2], [3]]}}', b'{"outputs": {"logits": [["a"]]}}',
                                    b'{"error": "no"}', b'{"outputs": {"logits": {}}}'])  # fmt: skip
def test_what_is_no_answer_is_no_answer(doubles, answer):
    doubles["rest"].faults.append(answer)
    with connect("rest", doubles["rest"].address) as client, pytest.raises(serving.InvalidAnswer):
        client.predict(pixels(2, RGB))


# === Time, retries, servers that come and go ===


def unavailable():
    return Refused("UNAVAILABLE", "the batching queue is full")


def test_servers_that_are_unavailable_are_asked_again(client, double, served_model):
    double.faults.extend([unavailable(), unavailable()])
    assert_close(client.predict(pixels(2, RGB)).logits, served_model.predict(pixels(2, RGB), verbose=0))
    assert double.counts["predict"] == 3


def test_retries_are_bounded(protocol, double):
    double.faults.extend(unavailable() for _ in range(9))
    raises = pytest.raises(serving.Unavailable, match=r"batching queue is full \(after 3 attempts\)")
    with connect(protocol, double.address, retries=2) as client, raises:
        client.predict(pixels(2, RGB))
    assert double.counts["predict"] == 3


def test_nothing_is_tried_again_after_the_deadline(protocol, double):
    double.faults.extend(unavailable() for _ in range(99))
    raises = pytest.raises(serving.Unavailable, match="attempts")
    with connect(protocol, double.address, retries=99, timeout=0.5, backoff=0.1) as client, raises:
        client.predict(pixels(2, RGB))
    assert double.counts["predict"] < 10


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "PERMISSION_DENIED",
                                  "INTERNAL", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNAUTHENTICATED",
                                  "DEADLINE_EXCEEDED"])  # fmt: skip
def test_other_errors_are_never_retried(client, double, code):
    double.faults.extend([Refused(code, "in its own words")] * 2)
    with pytest.raises(serving.ServingError, match="in its own words") as caught:
        client.predict(pixels(2, RGB))
    assert not isinstance(caught.value, serving.Unavailable)
    assert double.counts["predict"] == 1


def test_slow_servers_exceed_the_deadline(protocol, double):
    with connect(protocol, double.address, timeout=0.4) as client:
        client.wait_until_ready()
        double.faults.append(10.0)
        with pytest.raises(serving.DeadlineExceeded):
            client.predict(pixels(2, RGB))
    assert double.counts["predict"] == 1


def test_an_answer_that_drips_exceeds_the_deadline(doubles):
    with connect("rest", doubles["rest"].address, timeout=0.5) as client:
        client.wait_until_ready()
        doubles["rest"].faults.append("drip")
        with pytest.raises(serving.DeadlineExceeded):
            client.explain(pixels(8, RGB))


def test_servers_that_vanish_in_the_middle_of_an_answer(protocol, double):
    with connect(protocol, double.address, retries=0) as client:
        client.predict(pixels(2, RGB))
        double.faults.append("vanish")
        with pytest.raises(serving.Unavailable):
            client.predict(pixels(2, RGB))
        double.stop()
        with pytest.raises(serving.Unavailable):
            client.predict(pixels(2, RGB))
        double.start()
        client.wait_until_ready(10)
        assert len(client.predict(pixels(2, RGB))) == 2


def test_answers_that_break_off_are_asked_for_again(doubles):
    doubles["rest"].faults.extend(["vanish", "vanish"])
    with connect("rest", doubles["rest"].address) as client:
        assert len(client.predict(pixels(2, RGB))) == 2
    assert doubles["rest"].counts["predict"] == 3


def test_waiting_ends_when_the_server_comes_up(protocol, double):
    double.stop()
    with connect(protocol, double.address) as client:
        timer = threading.Timer(0.2, double.start)
        timer.start()
        assert client.wait_until_ready(20).version == 1
        timer.join()


def test_waiting_ends_at_its_deadline_and_says_why(protocol, double):
    double.models.load_errors = {2: "no weights"}
    raises = pytest.raises(serving.DeadlineExceeded, match=r"ready within 0.2 s.*version 2: no weights")
    with connect(protocol, double.address, version=2) as client, raises:
        client.wait_until_ready(0.2)
    double.stop()
    with connect(protocol, double.address) as client, pytest.raises(serving.DeadlineExceeded):
        client.wait_until_ready(0.2)


def test_closed_clients_say_so(protocol, double):
    client = connect(protocol, double.address)
    client.close()
    client.close()
    with pytest.raises(serving.ServingError, match="closed"):
        client.predict(pixels(1, RGB))
