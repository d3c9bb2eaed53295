"""Looking up ``module:object`` lines of a registry; unknown names list the known ones."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from splitprobe.core.params import ParamsError


def lookup(registry: Mapping[str, str], name: str, what: str) -> Any:
    """The object that a registry holds under a name; raises ParamsError for an unknown one.

    Importing late keeps each stage's dependencies to the files of the methods that it really runs.
    """
    if name not in registry:
        raise ParamsError(f"{what} = {name!r}: choose one of {', '.join(registry)}")
    module, _, attribute = registry[name].partition(":")
    return getattr(import_module(module), attribute)
