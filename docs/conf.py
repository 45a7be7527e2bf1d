"""Configuration of the documentation."""

from nissl import __version__

project = "Nissl"
author = "The Nissl authors"
copyright = "The Nissl authors, Apache-2.0"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "alabaster"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "description"
napoleon_google_docstring = False
