"""The treebank that comes with Nissl: its size, its columns, and the official validator."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nissl import load_corpus
from nissl.data import treebank_folder

FILES = sorted(treebank_folder().glob("*.conllu"))


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("nissl:treebank")


def test_size_and_splits(corpus) -> None:
    assert len(FILES) == 3
    assert corpus.n_sentences >= 600
    assert corpus.n_tokens >= 8000
    assert corpus.has_splits
    share = Counter(corpus.sentence_splits().tolist())
    assert share["train"] > 0.6 * corpus.n_sentences
    assert min(share["dev"], share["test"]) > 0.05 * corpus.n_sentences


def test_every_token_has_every_layer(corpus) -> None:
    for label in ("lemma", "upos", "xpos", "deprel", "chunk"):
        assert corpus.tokens[label].null_count() == 0, label
    assert set(corpus.labels) >= {"feats.Number", "feats.Tense", "feats.VerbForm"}
    assert corpus.tokens["head"].null_count() == 0


def test_sentences_are_varied_and_none_is_there_twice(corpus) -> None:
    texts = corpus.sentences["text"].to_list()
    assert len({re.sub(r"\W+", " ", text).lower() for text in texts}) == len(texts)
    genres = Counter(corpus.sentences["genre"].to_list())
    assert len(genres) >= 7
    assert max(genres.values()) < 0.3 * len(texts)


def test_one_root_and_no_cycle(corpus) -> None:
    for heads in corpus.tokens.group_by("sentence", maintain_order=True).agg("head")["head"]:
        head = heads.to_list()
        assert head.count(0) == 1
        for start in range(1, len(head) + 1):
            seen, at = set(), start
            while at:
                assert at not in seen
                seen.add(at)
                at = head[at - 1]


def test_chunks_are_well_formed(corpus) -> None:
    for chunks in corpus.tokens.group_by("sentence", maintain_order=True).agg("chunk")["chunk"]:
        before = "O"
        for tag in chunks.to_list():
            if tag.startswith("I-"):
                assert before[2:] == tag[2:], (before, tag)
            before = tag


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_official_validator_passes_at_level_2(path: Path) -> None:
    tool = Path(sys.executable).parent / "udvalidate"
    done = subprocess.run(
        [str(tool), "--lang", "en", "--level", "2", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def test_validator_would_object(tmp_path: Path) -> None:
    text = FILES[0].read_text(encoding="utf-8").replace("\tnsubj\t", "\tnsubject\t")
    broken = tmp_path / "broken.conllu"
    broken.write_text(text, encoding="utf-8")
    tool = Path(sys.executable).parent / "udvalidate"
    done = subprocess.run(
        [str(tool), "--lang", "en", "--level", "2", str(broken)], capture_output=True, text=True
    )
    assert done.returncode != 0
