"""Probes as scikit-learn classifiers: one fit, a path of penalties, a cross-validated choice."""

from nissl.estimators.cv import ProbeCV
from nissl.estimators.linear import Probe
from nissl.estimators.path import ProbePath

__all__ = ["Probe", "ProbeCV", "ProbePath"]
