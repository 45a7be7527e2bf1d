"""Study several models alike, one after another, and compare them from what each study found."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nissl.errors import NisslError, StoreError
from nissl.progress import say
from nissl.store.files import lock
from nissl.study.combine import combine
from nissl.study.cross_config import CrossConfig, load_cross_config, save_cross_config
from nissl.study.outcome import StudyOutcome
from nissl.study.portrait import CrossFindings
from nissl.study.run import run_study
from nissl.study.saved import load_study, slug

__all__ = ["CrossOutcome", "load_cross", "model_folder", "run_cross"]

CONFIG = "cross.yaml"


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossOutcome:
    """What a study of several models found.

    Attributes
    ----------
    config
        The resolved configuration.
    command
        The shell command that repeats it.
    folders
        Model → folder of its study, relative to that of the whole.
    findings
        The models beside each other.
    seconds
        CPU seconds of each model's analysis, without extraction; those of steps that an earlier
        run finished are counted.
    """

    config: CrossConfig
    command: str
    folders: dict[str, str]
    findings: CrossFindings
    seconds: dict[str, float]


def model_folder(name: str) -> str:
    """Return the folder of a model's study, relative to that of the whole, with slashes."""
    return f"models/{slug(name)}"


def run_cross(
    config: CrossConfig,
    out: str | Path,
    *,
    command: str | None = None,
    finished: Callable[[str, StudyOutcome, Path], None] | None = None,
) -> CrossOutcome:
    """Run an ordinary study of every model below ``out/models``, then compare them.

    Each study is resumable: a second run with the same folder goes on where the first stopped. A
    model is freed before the next is loaded.

    Parameters
    ----------
    command
        What the report names as the way to run it again; the saved configuration by default.
    finished
        Called with the name, outcome and folder of each study as soon as it is saved, for instance
        to write its page.

    Raises
    ------
    NisslError
        Bad input for one model or more. The other models are studied all the same, and their work
        is kept; the message names the first model that failed.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, NisslError] = {}
    with lock(folder):
        save_cross_config(config, folder / CONFIG)
        for i, model in enumerate(config.models, start=1):
            say(f"model {model.shown} ({i} of {len(config.models)})")
            place = folder / model_folder(model.shown)
            try:
                outcome = run_study(config.study_of(model), place)
                if finished is not None:
                    finished(model.shown, outcome, place)
                del outcome
            except NisslError as error:
                failed[model.shown] = error
                say(f"model {model.shown} failed: {error}")
            except Exception as error:
                error.add_note(f'while studying the model "{model.shown}" in {place}')
                raise
            # The next model shall not have to share the memory with this one.
            gc.collect()
        if failed:
            name, error = next(iter(failed.items()))
            others = f" ({', '.join(list(failed)[1:])} failed, too)" if len(failed) > 1 else ""
            raise type(error)(
                f'model "{name}": {error}{others}. The other models\' studies are kept; '
                "run again to go on"
            ) from error
        return load_cross(folder, command=command)


def load_cross(out: str | Path, *, command: str | None = None) -> CrossOutcome:
    """Compare the models of a study again from their finished studies; no model is needed.

    Raises
    ------
    StoreError
        The folder holds no study of several models, or a model's is not finished.
    """
    folder = Path(out)
    if not (folder / CONFIG).is_file():
        raise StoreError(f"holds no study of several models (no {CONFIG})", where=str(out))
    config = load_cross_config(folder / CONFIG)
    studies = {
        model.shown: load_study(folder / model_folder(model.shown)) for model in config.models
    }
    findings = combine(studies, config.levels(), seed=config.seed)
    findings.save(folder / "results" / "cross")
    seconds = {
        name: sum(sum(found.seconds.values()) for found in study.properties.values())
        for name, study in studies.items()
    }
    return CrossOutcome(
        config=config,
        command=command or f"nissl study {folder / CONFIG} --out {folder}",
        folders={name: model_folder(name) for name in studies},
        findings=findings,
        seconds=seconds,
    )
