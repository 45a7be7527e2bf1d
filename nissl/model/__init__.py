"""Models: safe loading, the sites where neurons live, and hooks on them."""

from nissl.model.edit import Edit, edited, paused
from nissl.model.hooks import capture
from nissl.model.known import KNOWN, known_models
from nissl.model.load import load_model, load_spec
from nissl.model.loaded import LoadedModel, LoadSpec, wrap_model
from nissl.model.resolve import resolve_sites
from nissl.model.run import mixes_padding, offset, run, run_inputs
from nissl.model.scan import ScanChunk, scan, screen
from nissl.model.silence import silenced
from nissl.model.sites import KINDS, all_sites, find_sites
from nissl.model.values import activation_site, output_embedding, value_vectors
from nissl.site import Site, format_neuron, parse_neuron

__all__ = [
    "KINDS",
    "KNOWN",
    "Edit",
    "LoadSpec",
    "LoadedModel",
    "ScanChunk",
    "Site",
    "activation_site",
    "all_sites",
    "capture",
    "edited",
    "find_sites",
    "format_neuron",
    "known_models",
    "load_model",
    "load_spec",
    "mixes_padding",
    "offset",
    "output_embedding",
    "parse_neuron",
    "paused",
    "resolve_sites",
    "run",
    "run_inputs",
    "scan",
    "screen",
    "silenced",
    "value_vectors",
    "wrap_model",
]
