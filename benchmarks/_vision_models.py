"""The networks whose maps are explained: EfficientNet-Lite0, or a small one trained on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _shapes import COLOURS, SHAPES, Scenes

__all__ = ["efficientnet", "maps_of", "small_network"]

FOLDER = Path(__file__).resolve().parents[1] / "build" / "models" / "efficientnet"
STAGES = (  # blocks, and stride of the first (Tan & Le 2019, table 1; Lite0 has the same)
    (1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1),
)  # fmt: skip
Layers = Callable[[Any], Iterator[tuple[str, Any]]]


def efficientnet(folder: Path | None) -> Layers | None:
    """Return a function from images to the maps of stem, stages and head; None without weights.

    The weights come from ``tools/models/efficientnet.py``. Lite models have no squeeze-and-
    excitation and ReLU6 for swish; padding is TensorFlow's "same".
    """
    path = (folder or FOLDER) / "model.safetensors"
    if not path.exists():
        return None
    from safetensors.torch import load_file

    weights = load_file(path)

    def layers(x: Any) -> Iterator[tuple[str, Any]]:
        import torch

        # Of the official Lite models: (value − 127) / 128.
        x = (x * 255 - 127) / 128
        x = torch.clamp(_conv(weights, x, "_conv_stem", "_bn0", 2), 0, 6)
        yield "stem", x
        block = 0
        for stage, (blocks, stride) in enumerate(STAGES):
            for i in range(blocks):
                x = _block(weights, x, f"_blocks.{block}", stride if i == 0 else 1)
                block += 1
            yield f"stage{stage + 1}", x
        x = torch.clamp(_conv(weights, x, "_conv_head", "_bn1", 1), 0, 6)
        yield "head", x
        yield "classes", x.mean((2, 3)) @ weights["_fc.weight"].T + weights["_fc.bias"]

    return layers


def _block(weights: dict[str, Any], x: Any, name: str, stride: int) -> Any:
    """Widen, filter each channel, narrow, and add what came in where the shape allows it."""
    import torch

    out = x
    if f"{name}._expand_conv.weight" in weights:
        out = torch.clamp(_conv(weights, out, f"{name}._expand_conv", f"{name}._bn0", 1), 0, 6)
    out = _conv(weights, out, f"{name}._depthwise_conv", f"{name}._bn1", stride)
    out = _conv(weights, torch.clamp(out, 0, 6), f"{name}._project_conv", f"{name}._bn2", 1)
    return out + x if out.shape == x.shape else out


def _conv(weights: dict[str, Any], x: Any, conv: str, norm: str, stride: int) -> Any:
    from torch.nn import functional as F

    kernel = weights[f"{conv}.weight"]
    pads = []
    for length, k in zip(reversed(x.shape[2:]), reversed(kernel.shape[2:]), strict=True):
        total = max((-(-length // stride) - 1) * stride + k - length, 0)
        pads += [total // 2, total - total // 2]
    groups = x.shape[1] // kernel.shape[1]
    x = F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=groups)
    return F.batch_norm(
        x,
        weights[f"{norm}.running_mean"],
        weights[f"{norm}.running_var"],
        weights[f"{norm}.weight"],
        weights[f"{norm}.bias"],
        eps=1e-3,
    )


def small_network(scenes: Scenes, steps: int, seed: int = 0) -> Layers:
    """Train four convolutions to tell which shapes and colours an image has."""
    import torch

    torch.manual_seed(seed)
    kinds = [f"shape={s}" for s in SHAPES] + [f"colour={c}" for c in COLOURS]
    images = len(scenes.images)
    masks = scenes.masks.reshape(len(scenes.names), images, -1)
    there = np.stack([masks[scenes.names.index(k)].any(1) for k in kinds], 1).astype(np.float32)
    widths = (3, 16, 32, 48, 64)
    convs = [torch.nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)]
    last = torch.nn.Linear(widths[-1], len(kinds))

    def layers(x: Any) -> Iterator[tuple[str, Any]]:
        x = x - 0.5
        for i, conv in enumerate(convs):
            x = torch.relu(conv(x))
            yield f"conv{i + 1}", x
        yield "classes", last(x.amax((2, 3)))

    optimiser = torch.optim.Adam([w for m in (*convs, last) for w in m.parameters()], lr=3e-3)
    rng = np.random.default_rng(seed)
    with torch.enable_grad():
        for _ in range(steps):
            at = rng.integers(0, images, 32)
            out = dict(layers(torch.from_numpy(scenes.images[at])))["classes"]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                out, torch.from_numpy(there[at])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return layers


def maps_of(
    layers: Layers, images: np.ndarray, cells: int, most: int, seed: int
) -> dict[str, np.ndarray]:
    """Return site → maps (B, U, h, w) of at most ``most`` units, none finer than the concepts."""
    import torch

    from nissl.kernels.activation_maps import resize_maps

    parts: dict[str, list[np.ndarray]] = {}
    with torch.inference_mode():
        for start in range(0, len(images), 16):
            for site, x in layers(torch.from_numpy(images[start : start + 16])):
                if site == "classes":
                    continue
                chosen = np.random.default_rng(seed).permutation(x.shape[1])[:most]
                maps = x[:, np.sort(chosen)].numpy()
                if maps.shape[-1] > cells:
                    maps = resize_maps(maps, (cells, cells))
                parts.setdefault(site, []).append(maps)
    return {site: np.concatenate(maps) for site, maps in parts.items()}
