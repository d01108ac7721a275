"""A client from one address."""

from urllib.parse import unquote, urlsplit

from keras_coda.serving.client import Client
from keras_coda.serving.grpc import GrpcClient
from keras_coda.serving.rest import RestClient
from keras_coda.utils.checks import require

_FORMS = "http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME, either may end in /versions/N or /labels/LABEL"


def connect(address: str, **options) -> Client:
    """Return the client of a model from an address that names server, model and version.

    Args:
        address: ``http[s]://HOST:PORT/v1/models/NAME`` for REST, ``grpc://HOST:PORT/NAME`` for gRPC; either may
            end in ``/versions/N`` or ``/labels/LABEL``.
        **options: of :class:`RestClient` and :class:`GrpcClient`, for instance ``timeout``.

    Raises:
        ImportError: without the extra ``serving``.
        ValueError: for an address of another form.

    Example:
        >>> connect("http://127.0.0.1:8501/v1/models/digits/versions/2").version
        2
    """
    parts = urlsplit(address)
    server, path = parts.netloc, [unquote(part) for part in parts.path.split("/") if part]
    is_rest = parts.scheme in ("http", "https")
    prefix = []
    if is_rest and "models" in path:
        after = path.index("models") + 1
        prefix, path = path[:after][:-2], path[after:]
    name, choice = path[:1], path[1:]
    is_known = is_rest or parts.scheme == "grpc"
    is_complete = bool(server and name) and (not choice or (len(choice) == 2 and choice[0] in ("versions", "labels")))
    require(is_known and is_complete, f"A server's address must be {_FORMS}", address=address)
    if choice and choice[0] == "versions":
        require(choice[1].isdigit(), "A version is a number", "Use /labels/ for names", address=address)
        options["version"] = int(choice[1])
    elif choice:
        options["label"] = choice[1]
    if is_rest:
        return RestClient("/".join([f"{parts.scheme}://{server}", *prefix]), name[0], **options)
    return GrpcClient(server, name[0], **options)
