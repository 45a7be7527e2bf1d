"""Nissl: find, weigh and test the individual neurons of neural language models."""

__version__ = "0.1.0"
