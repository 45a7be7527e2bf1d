"""Plain text through an optional spaCy pipeline: a quick start when there are no annotations."""

from __future__ import annotations

from pathlib import Path

from nissl.corpus.corpus import Corpus, Sentence, build_corpus
from nissl.corpus.lines import read_lines, source_name
from nissl.errors import SettingError

__all__ = ["read_text"]


def read_text(
    source: str | Path,
    *,
    tagger: str = "en_core_web_sm",
    split: str | None = None,
    name: str | None = None,
) -> Corpus:
    """Tag plain text (one paragraph a line) with a spaCy pipeline.

    Labels: ``upos, xpos, deprel, feats.*``. They are a tagger's guesses: results on them say as
    much about the tagger as about the model.

    Raises
    ------
    SettingError
        spaCy or its pipeline is not installed; the message says how to get it.
    """
    try:
        import spacy  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingError(
            'plain text needs a tagger: pip install "nissl[text]" and a spaCy pipeline, or give '
            "an annotated file"
        ) from None
    try:
        nlp = spacy.load(tagger)
    except OSError:
        raise SettingError(
            f'spaCy pipeline "{tagger}" is not installed; install it as a package and name it with '
            "--tagger"
        ) from None
    rows: list[Sentence] = []
    base: dict[str, list[str | None]] = {k: [] for k in ("lemma", "upos", "xpos", "deprel")}
    feats: list[dict[str, str]] = []
    blank = 0
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            blank += 1
            continue
        for sent in nlp(line).sents:
            words = [t for t in sent if not t.is_space]
            if not words:
                continue
            shift = words[0].idx
            rows.append(
                Sentence(
                    f"{source_name(source)}-{len(rows) + 1}",
                    line[shift : words[-1].idx + len(words[-1])],
                    tuple(t.text for t in words),
                    tuple((t.idx - shift, t.idx - shift + len(t)) for t in words),
                    f"{source}:{number}",
                )
            )
            for t in words:
                base["lemma"].append(t.lemma_ or None)
                base["upos"].append(t.pos_ or None)
                base["xpos"].append(t.tag_ or None)
                base["deprel"].append(t.dep_ or None)
                feats.append({f"feats.{k}": v for k, v in t.morph.to_dict().items()})
    keys = sorted({key for item in feats for key in item})
    columns = {**base, **{key: [item.get(key) for item in feats] for key in keys}}
    return build_corpus(
        name or source_name(source),
        rows,
        columns,
        labels=[key for key in columns if key != "lemma"],
        splits=[split] * len(rows),
        left_out={"blank lines": blank},
    )
