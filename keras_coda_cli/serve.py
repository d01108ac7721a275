"""`keras-coda serve`: predictions and maps of a network over HTTP."""

import argparse
import math
import re
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Serve predictions and exact maps of a network over HTTP. The protocols are KServe's V1 (:predict, :explain) and "
    "V2; clients of TF Serving's REST API work, too. It needs keras-coda[serve]."
)
EXAMPLE = "keras-coda serve --model coda_digits --port 8080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    common.add_model(parser)
    parser.add_argument(
        "--name", help="of the model in addresses, /v1/models/NAME; default: that of the preset, file or folder"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; with any other, other machines can use the server"
    )
    parser.add_argument("--port", type=common.port, default=8080, metavar="N", help="0: any free port")
    parser.add_argument(
        "--model-version", type=common.positive, default=1, metavar="N", help="number of the model in its metadata"
    )
    parser.add_argument(
        "--top-k",
        type=common.positive,
        default=1,
        metavar="K",
        help="most probable classes in an answer, unless the request says otherwise",
    )
    common.add_max_side(parser)
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-images", type=common.positive, default=64, metavar="N", help="images of a request")
    limits.add_argument("--max-request-mb", type=common.positive, default=16, metavar="N", help="MiB of a request")
    limits.add_argument("--max-batch", type=common.positive, default=32, metavar="N", help="images computed together")
    limits.add_argument(
        "--max-wait-ms", type=float, default=2.0, metavar="MS", help="time that a request waits for others to join it"
    )
    limits.add_argument(
        "--grace-s", type=common.positive, default=30, metavar="S", help="time to finish requests after SIGTERM"
    )
    parser.add_argument("--log-requests", action="store_true", help="write a line for each request")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    checks.require_extra("serve", "kserve", purpose="The server")
    checks.require_range(args, "--max-wait-ms", 0, math.inf, "[)")
    checks.check_model(args.model)
    name = args.name or _name(args.model)
    rule = "The name of the model in addresses must be letters, digits, '_', '.' and '-'"
    is_name = re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII)
    checks.require(is_name, rule, f"'{name}'", "Choose another: --name")


def run(args: argparse.Namespace) -> None:
    """Serve until it is interrupted."""
    from keras_coda import server

    server.serve(
        common.load_model(args.model, any_model=True),
        args.name or _name(args.model),
        host=args.host,
        port=args.port,
        version=args.model_version,
        top_k=args.top_k,
        max_images=args.max_images,
        max_side=common.max_side(args),
        max_request_mb=args.max_request_mb,
        max_batch=args.max_batch,
        max_wait_ms=args.max_wait_ms,
        grace_s=args.grace_s,
        log_requests=args.log_requests,
    )


def _name(model):
    """Return the name of a preset or folder, or of a file without its ending."""
    path = Path(model).expanduser()
    path = path.resolve() if path.exists() else path  # for "." and "..", too
    return path.stem if path.suffix.lower() == ".keras" else path.name
