"""One search by the package compositional-explanations, in a process of its own.

Usage: ``python _compositional_peer.py FILE.npz [FOLDER]``; the file holds ``concepts`` (K, N),
``mask`` (N,), ``length`` and ``beam`` (0: its optimal search). Prints CPU seconds and the score.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import numpy as np


def main() -> None:
    if len(sys.argv) > 2:
        sys.path.insert(0, sys.argv[2])
    import torch

    torch.set_num_threads(1)
    beam: Any = importlib.import_module("compositional_explanations.beam")
    optimal: Any = importlib.import_module("compositional_explanations.optimal")
    metrics: Any = importlib.import_module("compositional_explanations.metrics")
    given = np.load(sys.argv[1])
    masks = [torch.from_numpy(row[None]) for row in given["concepts"]]
    mask = torch.from_numpy(given["mask"][None])
    counts = given["concepts"].astype(np.float32)
    disjoint = torch.from_numpy(counts @ counts.T == 0)
    length, width = int(given["length"]), int(given["beam"])
    settings: dict[str, Any] = {
        "bitmaps": mask,
        "masks": masks,
        "disjoint_info": disjoint,
        "length": length,
        "device": torch.device("cpu"),
        "cache_dir": None,
    }
    since = time.process_time()
    if width:
        found = beam.compute_beam_explanations(beam_size=width, **settings)
    else:
        found = optimal.compute_optimal_explanations(**settings)
    took = time.process_time() - since
    formula = found[0] if isinstance(found, tuple) else found
    score = metrics.compute_iou_from_masks(formula=formula, masks=masks, bitmaps=mask)
    print(json.dumps({"cpu_s": took, "iou": float(score), "formula": str(formula)}))


if __name__ == "__main__":
    main()
