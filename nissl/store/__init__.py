"""The activation store."""

from nissl.store.activations import Activations
from nissl.store.merge import merge_stores
from nissl.store.verify import Fault, verify_store
from nissl.store.write import write_store

__all__ = ["Activations", "Fault", "merge_stores", "verify_store", "write_store"]
