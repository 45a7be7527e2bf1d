"""The activation store."""

from nissl.store.activations import Activations

__all__ = ["Activations"]
