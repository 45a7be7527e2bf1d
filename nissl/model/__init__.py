"""Models: safe loading, the sites where neurons live, and hooks on them."""

from nissl.model.hooks import capture
from nissl.model.load import KNOWN, LoadedModel, known_models, load_model
from nissl.model.sites import KINDS, find_sites
from nissl.site import Site, format_neuron, parse_neuron

__all__ = [
    "KINDS",
    "KNOWN",
    "LoadedModel",
    "Site",
    "capture",
    "find_sites",
    "format_neuron",
    "known_models",
    "load_model",
    "parse_neuron",
]
