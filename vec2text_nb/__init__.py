__version__ = "0.2.0"

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .embedders import load_embedder
    from .inversion import Corrector, Inversion
    from .pretrained import (invert_embeddings, invert_embeddings_and_return_hypotheses, invert_strings, load_corrector,
                             load_pretrained_corrector)

# The names are looked up on first use (PEP 562): the modules import torch and transformers, which takes seconds
# and brings accelerate along, and neither is needed to read the version or to print the help of a command.
_MODULES = {
    "Corrector": "inversion",
    "Inversion": "inversion",
    "invert_embeddings": "pretrained",
    "invert_embeddings_and_return_hypotheses": "pretrained",
    "invert_strings": "pretrained",
    "load_corrector": "pretrained",
    "load_embedder": "embedders",
    "load_pretrained_corrector": "pretrained",
}

__all__ = ["Corrector", "Inversion", "invert_embeddings", "invert_embeddings_and_return_hypotheses", "invert_strings",
           "load_corrector", "load_embedder", "load_pretrained_corrector"]


def __getattr__(name: str):
    if name not in _MODULES: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
