"""Ask for predictions and maps over REST; needs requests alone: ``python rest.py IMAGE [MODEL]``."""

import base64
import sys
from pathlib import Path

import requests

SERVER = "http://127.0.0.1:8501"


def predict(model: str, signature: str, instances: list, server: str = SERVER) -> list[dict]:
    """Return one answer per instance; raise with the server's own message if it refuses."""
    url = f"{server}/v1/models/{model}/labels/stable:predict"
    answer = requests.post(url, json={"signature_name": signature, "instances": instances}, timeout=30)
    if not answer.ok:
        raise RuntimeError(f"The server must answer. Received: {answer.status_code} {answer.text}")
    return answer.json()["predictions"]


def explain_file(path: str, model: str = "digits", server: str = SERVER) -> dict:
    """Return logits, classes, names and maps of an image file, after a look at their completeness."""
    encoded = base64.b64encode(Path(path).read_bytes()).decode()
    (answer,) = predict(model, "contributions_bytes", [{"b64": encoded}], server)
    for index, contributions in zip(answer["classes"], answer["contributions"], strict=True):
        total = sum(map(sum, contributions)) + answer["bias"]
        assert abs(total - answer["logits"][index]) < 1e-3, "maps must sum to their logits"
    return answer


if __name__ == "__main__":
    found = explain_file(*sys.argv[1:])
    for index, name, residual in zip(found["classes"], found["class_names"], found["residual"], strict=True):
        print(f"{name}: logit {found['logits'][index]:.2f}, residual {residual:.1e}")
