"""Images of known shapes, colours and textures, with the exact pixels of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["COLOURS", "SHAPES", "TEXTURES", "Scenes", "make_scenes"]

SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.75, 0.15),
    "blue": (0.15, 0.25, 0.9),
    "yellow": (0.9, 0.85, 0.1),
    "magenta": (0.85, 0.15, 0.8),
    "cyan": (0.1, 0.8, 0.85),
}
TEXTURES = ("plain", "stripes", "checker", "dots")
GROUNDS = ("flat", "noise", "gradient", "grid")
MOST = 4


@dataclass(frozen=True, eq=False)
class Scenes:
    """B images, and where each of K concepts is.

    Attributes
    ----------
    images
        float32 (B, 3, S, S), in [0, 1].
    names, families
        Of the concepts, (K,).
    masks
        bool (K, B · R · R), sampled at the centres of R × R cells.
    """

    images: np.ndarray
    names: tuple[str, ...]
    families: tuple[str, ...]
    masks: np.ndarray


def make_scenes(count: int, size: int = 224, cells: int = 32, seed: int = 0) -> Scenes:
    """Draw images of one to four shapes on grey grounds; ``size`` is a multiple of ``cells``."""
    rng = np.random.default_rng(seed)
    step = size // cells
    assert step * cells == size
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    images = np.empty((count, 3, size, size), dtype=np.float32)
    kinds: dict[str, str] = {}
    found: list[dict[str, np.ndarray]] = []
    for image in images:
        here: dict[str, np.ndarray] = {}

        def add(family: str, value: str, mask: np.ndarray, here: dict = here) -> None:
            name = f"{family}={value}" if value else family
            kinds[name] = family
            here[name] = here.get(name, False) | mask

        ground = GROUNDS[int(rng.integers(len(GROUNDS)))]
        image[:] = _ground(ground, x, y, rng)
        filled = np.zeros((size, size), dtype=bool)
        for _ in range(int(rng.integers(1, MOST + 1))):
            shape = SHAPES[int(rng.integers(len(SHAPES)))]
            colour = tuple(COLOURS)[int(rng.integers(len(COLOURS)))]
            texture = TEXTURES[int(rng.integers(len(TEXTURES)))]
            radius = float(rng.uniform(0.09, 0.24))
            cx, cy = rng.uniform(radius, 1 - radius, 2)
            mask = _inside(shape, (x - cx) / radius, (y - cy) / radius)
            if (mask & filled).any():
                continue
            filled |= mask
            light = _texture(texture, x, y)[mask]
            image[:, mask] = np.array(COLOURS[colour])[:, None] * light
            add("shape", shape, mask)
            add("colour", colour, mask)
            add("texture", texture, mask)
            add("size", "large" if radius > 0.165 else "small", mask)
        add("object", "", filled)
        add("edge", "", _edge(filled, step))
        add("ground", ground, ~filled)
        for name, part in (("left", x < 0.5), ("top", y < 0.5), ("middle", _middle(x, y))):
            add("place", name, part)
        centres = slice(step // 2, None, step)
        found.append({name: mask[centres, centres] for name, mask in here.items()})
    names = tuple(sorted(kinds))
    masks = np.zeros((len(names), count, cells, cells), dtype=bool)
    for i, here in enumerate(found):
        for k, name in enumerate(names):
            if name in here:
                masks[k, i] = here[name]
    return Scenes(images, names, tuple(kinds[n] for n in names), masks.reshape(len(names), -1))


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels of a shape of radius 1 about the origin."""
    r = np.hypot(x, y)
    if shape == "circle":
        return r < 0.95
    if shape == "ring":
        return (r < 1) & (r > 0.55)
    if shape == "square":
        return np.maximum(abs(x), abs(y)) < 0.82
    if shape == "diamond":
        return abs(x) + abs(y) < 1
    if shape == "triangle":
        return (y < 0.75) & (y > 2 * abs(x) - 1)
    return (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 0.95)


def _texture(texture: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Brightness; the hue of a pixel never changes."""
    period = 1 / 14
    u, v = x / period, y / period
    if texture == "stripes":
        dark = (u + v) % 2 < 1
    elif texture == "checker":
        dark = (np.floor(u) + np.floor(v)) % 2 < 1
    elif texture == "dots":
        dark = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3
    else:
        return np.ones_like(x)
    return np.where(dark, 0.35, 1.0)


def _ground(kind: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey behind the shapes."""
    level = float(rng.uniform(0.25, 0.75))
    if kind == "noise":
        return np.clip(level + rng.normal(0, 0.12, x.shape), 0.02, 1)
    if kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        return np.clip(level + 0.35 * (x * np.cos(angle) + y * np.sin(angle)), 0.02, 1)
    if kind == "grid":
        lines = (x * 10 % 1 < 0.12) | (y * 10 % 1 < 0.12)
        return np.where(lines, level * 0.5, level)
    return np.full_like(x, level)


def _edge(filled: np.ndarray, width: int) -> np.ndarray:
    """Pixels within ``width`` of where a shape begins or ends."""
    out = np.zeros_like(filled)
    for axis in (0, 1):
        for shift in range(-width, width + 1):
            out |= np.roll(filled, shift, axis) != filled
    return out


def _middle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x - 0.5), abs(y - 0.5)) < 0.25
