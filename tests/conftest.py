"""Shared fixtures. Shapes of the kernels' arrays are checked in tests, at no cost to users."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]

# Must come before anything imports nissl.kernels. The private modules hold compiled inner loops,
# which cannot be wrapped; their callers are checked.
_HOOK = install_import_hook(
    [
        f"nissl.kernels.{path.stem}"
        for path in sorted((ROOT / "nissl" / "kernels").glob("*.py"))
        if not path.stem.startswith("_")
    ],
    "beartype.beartype",
)

import pytest
from hypothesis import HealthCheck, settings

from nissl.parallel import set_threads
from nissl.progress import set_quiet

# Shared, noisy machines: examples are bounded in number, never in wall time.
settings.register_profile(
    "nissl",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("nissl")
set_threads(1)
set_quiet(True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real corpora that are not part of the project; tests that want it may skip."""
    named = os.environ.get("NISSL_SHARED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of real corpora (set NISSL_SHARED_DATA to one)")
    return folder
