"""Text files as numbered lines, with errors that name the byte and the line."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from nissl.errors import InputError, did_you_mean

__all__ = ["blocks", "member_of", "missing_file", "read_lines", "source_name"]

ARCHIVE = ".zip!"


def source_name(source: str | Path) -> str:
    """Return a short name of a source: its file name, or the member of an archive."""
    return member_of(source) or Path(source).name


def member_of(source: str | Path) -> str | None:
    """Return the member that ``archive.zip!member`` names, or None for a plain file."""
    _, mark, member = str(source).partition(ARCHIVE)
    return member if mark else None


def read_bytes(source: str | Path) -> bytes:
    """Return the bytes of a file, or of a member of a zip archive (``archive.zip!member``)."""
    text = str(source)
    member = member_of(source)
    if member is not None:
        archive = text.removesuffix("!" + member)
        try:
            with zipfile.ZipFile(archive) as opened:
                names = opened.namelist()
                if member not in names:
                    inside = [name for name in names if name.endswith("/" + member)]
                    if len(inside) != 1:
                        raise InputError(
                            f'no member "{member}"; there are {", ".join(names[:8])}.'
                            f"{did_you_mean(member, names)}",
                            where=archive,
                        )
                    member = inside[0]
                return opened.read(member)
        except FileNotFoundError:
            raise missing_file(Path(archive)) from None
        except zipfile.BadZipFile:
            raise InputError("is not a zip archive", where=archive) from None
    path = Path(source)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise missing_file(path) from None
    except IsADirectoryError:
        raise InputError("is a folder, not a file; name a file in it", where=text) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=text) from None


def missing_file(path: Path) -> InputError:
    """Return the error for a file that is not there; a file of like name is suggested."""
    folder = path.parent
    names = [item.name for item in folder.iterdir()] if folder.is_dir() else []
    return InputError(f"no such file.{did_you_mean(path.name, names)}", where=str(path))


def read_lines(source: str | Path) -> list[str]:
    """Return the lines of a UTF-8 file without their ends (LF or CRLF); a BOM is skipped.

    Raises
    ------
    InputError
        Missing file, or bytes that are not UTF-8: line and byte offset are named.
    """
    data = read_bytes(source)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; convert the file",
            where=f"{source}:{line}",
        ) from None
    # Not splitlines(): it would also cut at U+2028, form feeds and other characters inside words.
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield runs of non-blank lines with the number of their first line (from 1)."""
    block: list[str] = []
    first = 1
    for number, line in enumerate(lines, start=1):
        if line.strip() == "":
            if block:
                yield first, block
            block = []
        else:
            if not block:
                first = number
            block.append(line)
    if block:
        yield first, block
