"""Effects on running text: loss, hidden words, chosen next words, and collateral damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nissl.effects._encode import encode, needs_head
from nissl.effects._plan import Plan, Wanted, causal_plan, masked_plan
from nissl.effects._score import batches_of, run_batch, score
from nissl.effects.effect import Effect, LogProbEffect, Prepared, all_of, column
from nissl.effects.pair_effects import HEADS, plan_texts
from nissl.errors import InputError, SettingError
from nissl.model import LoadedModel
from nissl.model.edit import paused

__all__ = [
    "Divergence",
    "HiddenWords",
    "divergence",
    "hidden_words",
    "loss_effect",
    "perplexity",
    "word_effect",
]


def _places(texts: Sequence[str], name: str, places: Sequence[str] | None) -> list[str]:
    if not texts:
        raise InputError("holds no text", where=name)
    return [f"{name}:{i + 1}" for i in range(len(texts))] if places is None else list(places)


def loss_effect(
    texts: Sequence[str],
    *,
    name: str = "loss",
    places: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> LogProbEffect:
    """Return the cross-entropy of each text, nats a subword, weighted by its subwords.

    The weighted mean over texts is the loss of the whole corpus; :func:`perplexity` is its
    exponential. A text longer than a causal model takes is scored in windows that overlap by half.
    For a masked model it is the pseudo-log-likelihood of Salazar et al. (2020), negative and
    divided by the number of subwords; a text that is too long for it is an error.
    """
    where = _places(texts, name, places)
    n = len(texts)

    def build(model: LoadedModel) -> Prepared:
        plan = plan_texts(model, texts, [0] * n, where, windows=True)
        counts = plan.counts().astype(np.float64)
        if (counts == 0).any():
            raise InputError(
                "a text of a single subword has no loss without a start token; leave it out",
                where=where[int((counts == 0).argmax())],
            )
        return Prepared(plan, counts, (np.arange(n), np.arange(n), -1.0 / counts))

    return LogProbEffect(
        name=name,
        unit="nats per subword",
        groups=column([""] * n if groups is None else list(groups)),
        clusters=column(where),
        better=-1,
        build=build,
        values=lambda slots, prepared: prepared.margin(slots),
    )


def perplexity(effect: LogProbEffect, model: LoadedModel) -> float:
    """Return the perplexity of a loss: exp of its mean over all subwords."""
    return float(np.exp(np.average(effect.measure(model), weights=effect.weights(model))))


def word_effect(
    prefixes: Sequence[str],
    words: Sequence[str],
    *,
    name: str = "next word",
    groups: Sequence[str] | None = None,
    places: Sequence[str] | None = None,
) -> LogProbEffect:
    """Return log p(word | prefix), nats; of a word of several subwords the sum over them.

    One blank stands between them, whether or not the prefix ends with blanks.

    Raises
    ------
    SettingError
        Lists of different length.
    InputError
        An empty word.
    """
    if len(prefixes) != len(words):
        raise SettingError(f"{len(prefixes)} prefixes for {len(words)} words; give one a word")
    where = _places(words, name, places)
    n = len(words)
    for word, place in zip(words, where, strict=True):
        if not word.strip():
            raise InputError("the word is empty", where=place)
    before = [prefix.rstrip(" ") for prefix in prefixes]

    def build(model: LoadedModel) -> Prepared:
        texts = [f"{p} {w.strip()}" if p else w.strip() for p, w in zip(before, words, strict=True)]
        starts = [len(p) + 1 if p else 0 for p in before]
        plan = plan_texts(model, texts, starts, where)
        return Prepared(plan, np.ones(n), (np.arange(n), np.arange(n), np.ones(n)))

    return LogProbEffect(
        name=name,
        unit="nats",
        groups=column([""] * n if groups is None else list(groups)),
        clusters=column(before),
        better=0,
        build=build,
        values=lambda slots, prepared: slots,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class HiddenWords(Effect):
    """Whether a masked model's likeliest token is the hidden one; share of subwords, by text."""

    texts: tuple[str, ...]
    places: tuple[str, ...]
    whole_words: bool = True

    def _plan(self, model: LoadedModel) -> Plan:
        needs_head(model, "masked-lm")
        found = encode(model, self.texts, self.places, causal=False)
        wanted = [Wanted(i, all_of(text), i) for i, text in enumerate(found)]
        return masked_plan(
            model, found, wanted, len(found), self.places, whole_words=self.whole_words
        )

    def measure(self, model: LoadedModel) -> np.ndarray:
        """Return the share of each text's subwords that are found."""
        plan = self._plan(model)

        def hit(logits: Any, row: Any, position: Any, token: Any) -> Any:
            return (logits[row, position].argmax(dim=1) == token).float()

        return plan.total(score(model, plan, hit)) / plan.counts()

    def weights(self, model: LoadedModel) -> np.ndarray:
        """Return the number of subwords of each text."""
        return self._plan(model).counts().astype(np.float64)


def hidden_words(
    texts: Sequence[str],
    *,
    name: str = "hidden words",
    places: Sequence[str] | None = None,
    whole_words: bool = True,
) -> HiddenWords:
    """Return the accuracy of a masked model: every subword hidden once, with the rest of its word.

    Deterministic, where random masking would add noise.
    """
    where = _places(texts, name, places)
    return HiddenWords(
        name=name,
        unit="share right",
        groups=column([""] * len(texts)),
        clusters=column(where),
        scale=100.0,
        texts=tuple(texts),
        places=tuple(where),
        whole_words=whole_words,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Divergence(Effect):
    """KL divergence of the edited model's next-token distributions from the unedited model's.

    Each measurement runs the model twice, with edits and without, so that nothing has to be kept.
    """

    texts: tuple[str, ...]
    places: tuple[str, ...]

    def _plan(self, model: LoadedModel) -> Plan:
        causal = needs_head(model, *HEADS) == "causal-lm"
        found = encode(model, self.texts, self.places, causal=causal)
        wanted = [Wanted(i, all_of(text), i) for i, text in enumerate(found)]
        if causal:
            return causal_plan(model, found, wanted, len(found), self.places, windows=True)
        return masked_plan(model, found, wanted, len(found), self.places)

    def measure(self, model: LoadedModel) -> np.ndarray:
        """Return the mean over each text's positions of Σ p log(p / q), p unedited, nats."""
        import torch

        plan = self._plan(model)
        values = np.empty(len(plan.row))
        with torch.inference_mode():
            for batch in batches_of(model, plan):
                keep, where = np.unique(batch.position, return_inverse=True)
                with paused():
                    before = run_batch(model, batch.ids, batch.mask, keep)
                after = run_batch(model, batch.ids, batch.mask, keep)
                row = torch.as_tensor(batch.row, device=after.device)
                place = torch.as_tensor(where, device=after.device)
                step = max(1, 4_000_000 // after.shape[-1])
                parts = []
                for start in range(0, len(row), step):
                    here = slice(start, start + step)
                    p = before[row[here], place[here]].float().log_softmax(dim=1)
                    q = after[row[here], place[here]].float().log_softmax(dim=1)
                    parts.append((p.exp() * (p - q)).sum(dim=1))
                values[batch.target] = torch.cat(parts).double().cpu().numpy()
        return plan.total(values) / np.maximum(plan.counts(), 1)

    def weights(self, model: LoadedModel) -> np.ndarray:
        """Return the number of positions of each text."""
        return self._plan(model).counts().astype(np.float64)


def divergence(
    texts: Sequence[str], *, name: str = "KL on other text", places: Sequence[str] | None = None
) -> Divergence:
    """Return the collateral damage of an edit: how far predictions on unrelated text move."""
    where = _places(texts, name, places)
    return Divergence(
        name=name,
        unit="nats per subword",
        groups=column([""] * len(texts)),
        clusters=column(where),
        better=-1,
        texts=tuple(texts),
        places=tuple(where),
    )
