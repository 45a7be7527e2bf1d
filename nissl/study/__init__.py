"""Studies: the whole analysis of several properties, resumable, saved in one folder."""

from nissl.study.config import StudyConfig, load_config, make_config
from nissl.study.outcome import PropertyFindings, StudyOutcome, TextView
from nissl.study.run import run_study
from nissl.study.saved import load_study

__all__ = [
    "PropertyFindings",
    "StudyConfig",
    "StudyOutcome",
    "TextView",
    "load_config",
    "load_study",
    "make_config",
    "run_study",
]
