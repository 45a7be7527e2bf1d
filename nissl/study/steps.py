"""Finished steps of a study on disk; one is run again only when what it rests on has changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nissl import __version__
from nissl.errors import StoreError
from nissl.results import Result, load_result
from nissl.store.files import read_json, write_json

__all__ = ["Steps"]

_R = TypeVar("_R", bound=Result)


@dataclass
class Steps:
    """The step folders of one property.

    Attributes
    ----------
    folder
        Where each step has a folder of its own.
    base
        What every step rests on (the task's fingerprint, the seed).
    seconds
        CPU seconds of each step, also of those finished in an earlier run.
    """

    folder: Path
    base: Mapping[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    def run(
        self, name: str, kind: type[_R], settings: Mapping[str, Any], make: Callable[[], _R]
    ) -> _R:
        """Return the saved result of a step with these settings, or make and save it."""
        key = self._key(name, settings)
        target = self.folder / name
        kept = self._kept(target, kind, key)
        if kept is not None:
            self.seconds[name] = kept[1]
            return kept[0]
        began = time.process_time()
        result = make()
        self.seconds[name] = time.process_time() - began
        mark = target / "step.json"
        mark.unlink(missing_ok=True)
        result.save(target)
        # The mark comes last: a step without it is not finished.
        write_json(mark, {"key": key, "cpu_seconds": self.seconds[name]})
        return result

    def _key(self, name: str, settings: Mapping[str, Any]) -> str:
        rests_on = {"step": name, "base": self.base, "settings": settings, "nissl": __version__}
        return hashlib.sha256(
            json.dumps(rests_on, sort_keys=True, default=str).encode()
        ).hexdigest()

    def _kept(self, target: Path, kind: type[_R], key: str) -> tuple[_R, float] | None:
        mark = target / "step.json"
        if not mark.is_file():
            return None
        try:
            found = read_json(mark, cure="run the study again")
            if found.get("key") != key:
                return None
            result = load_result(target)
        except StoreError:
            # A damaged step is simply made again.
            return None
        return (result, float(found["cpu_seconds"])) if isinstance(result, kind) else None
