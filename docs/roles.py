"""An extension of Griffe that rewrites the docstrings of this package for mkdocstrings.

The docstrings are written as plain text. These parts of them, which Markdown does not have, are rewritten:

- ``:class:`~keras_coda.CoDANet` `` and similar roles become a link if the reference has the name. A name that does not
  exist in the package is a warning, and makes ``mkdocs build --strict`` fail.
- ``Example:`` before ``>>>`` becomes a section of examples, and ``Example::`` a block of code.

Defaults that are names of constants are shown by their values: ``logit_bias=-2.197``, not ``LOGIT_BIAS``.
"""

import logging
import math
import re

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`(~?)([\w.]+)`")
_LITERAL = re.compile(r"^([ \t]*)(\w.*):: *$", re.M)
_log = logging.getLogger("mkdocs.hooks.keras_coda.roles")


class Roles(griffe.Extension):
    """Rewrites every docstring once the whole package is known."""

    def on_package(self, *, pkg, loader, **kwargs):
        """Rewrite the docstrings of a package."""
        if pkg.name == "keras_coda":
            _rewrite_all(pkg, pkg)


def _rewrite_all(package, parent):
    if parent.docstring:
        value = _ROLE.sub(lambda match: _link(package, parent, *match.groups()), parent.docstring.value)
        value = re.sub(r"^( *)Example:( *\n *(?:>>>|```))", r"\1Examples:\2", value, flags=re.M)
        parent.docstring.value = _LITERAL.sub(r"\1\2:", value)
    for parameter in getattr(parent, "parameters", None) or ():
        if re.fullmatch(r"[A-Z][A-Z_]+", str(parameter.default or "")):
            parameter.default = _value(package, parent, str(parameter.default)) or parameter.default
    for member in parent.members.values():
        if not member.is_alias:
            _rewrite_all(package, member)


def _value(package, parent, name):
    """Return the value of a constant as it is written in a call; None if it is not a number, text or tuple of these."""
    path = _resolve(package, parent, name)
    if path is None:
        return None
    try:
        value = eval(str(package[path.partition(".")[2]].value), {"__builtins__": {}, "math": math})
    except (KeyError, NameError, SyntaxError, TypeError):
        return None
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _link(package, parent, tilde, name):
    """Return a link to a name, as a docstring of ``parent`` knows it."""
    path = _resolve(package, parent, name)
    shown = name.rpartition(".")[2] if tilde else name
    if path is None:
        _log.warning("The docstring of %s refers to '%s', which does not exist", parent.path, name)
        return f"`{shown}`"
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'


def _resolve(package, parent, name):
    """Return the full path of a name: from the package, from where it is used, or from around there."""
    if name.split(".")[0] == package.name:
        scopes, name = [package], name.partition(".")[2]
    else:
        scopes = [parent]
        while scopes[-1].parent is not None:
            scopes.append(scopes[-1].parent)
    for scope in scopes:
        try:
            found = scope[name] if name else scope
            return (found.final_target if found.is_alias else found).path
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue
    return None
