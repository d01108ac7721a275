"""Imports of packages that only an extra installs."""

import importlib
import importlib.util
from types import ModuleType


def import_optional(
    module: str, *, extra: str, purpose: str = "This function", package: str | None = None, alternative: str = ""
) -> ModuleType:
    """Import a module that one of this package's extras installs.

    Args:
        module: its full name, for instance ``"av"``.
        extra: name of the extra.
        purpose: what needs the module: the subject of the error's first sentence, in the singular.
        package: the name to give in the error, if it isn't that of the module.
        alternative: what can be done instead of installing it, for instance ``"export with `warmup=False`"``.

    Returns:
        The module.

    Raises:
        ImportError: if the module cannot be imported; the message says which extra to install.

    Example:
        >>> import_optional("av", extra="video", purpose="Reading videos").__name__
        'av'
    """
    try:
        importlib.import_module(module.partition(".")[0])  # a cached submodule does not mean that it is installed
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module, error, extra, purpose, package, alternative) from error


def require_installed(
    module: str, *, extra: str, purpose: str = "This function", package: str | None = None, alternative: str = ""
) -> None:
    """Raise the ``ImportError`` of :func:`import_optional` if a module cannot be found, without importing it."""
    if not is_installed(module):
        raise _missing(module, f"No module named {module!r}", extra, purpose, package, alternative)


def is_installed(module: str) -> bool:
    """Return whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the parent package
        return False


def _missing(module, error, extra, purpose, package, alternative):
    other = f", or {alternative}" if alternative else ""
    message = f'{purpose} needs {package or module}. Received: {error}. Install it: pip install "keras-coda[{extra}]"'
    return ImportError(f"{message}{other}.", name=module)
