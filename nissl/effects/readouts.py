"""Effects read from a classification head, or from a linear probe further down the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nissl.corpus import Corpus
from nissl.effects._encode import encode, needs_head
from nissl.effects._plan import Plan
from nissl.effects._score import batches_of, logits_of
from nissl.effects.effect import Effect, column
from nissl.errors import InputError, LabelError, SettingError, did_you_mean
from nissl.inputs import make_items
from nissl.model import LoadedModel, capture, offset, resolve_sites, run
from nissl.model.edit import paused
from nissl.site import parse_neuron

__all__ = ["ClassAccuracy", "Readout", "class_accuracy", "readout"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassAccuracy(Effect):
    """Whether a classification head gives each text its class, 1 or 0."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...]

    def measure(self, model: LoadedModel) -> np.ndarray:
        """Return 1 where the likeliest class is the text's label, (items,)."""
        import torch

        needs_head(model, "classification")
        wanted = self._classes(model)
        found = encode(model, self.texts, self.places, causal=False)
        for text, place in zip(found, self.places, strict=True):
            if model.max_length is not None and len(text.ids) > model.max_length:
                raise InputError(
                    f"has {len(text.ids)} subwords, the model takes {model.max_length}",
                    where=place,
                )
        every = np.arange(len(found))
        plan = Plan(tuple(t.ids for t in found), every, every * 0, wanted, every, len(found))
        right = np.empty(len(found))
        with torch.inference_mode():
            # Of one length each: where the answer is read may depend on the padding token.
            for batch in batches_of(model, plan, equal=True):
                likeliest = logits_of(run(model, batch.ids, batch.mask)).argmax(dim=-1).cpu()
                right[batch.target] = likeliest.numpy()[batch.row] == batch.token
        return right

    def _classes(self, model: LoadedModel) -> np.ndarray:
        config = getattr(model.model, "config", None)
        names = {int(k): str(v) for k, v in (getattr(config, "id2label", None) or {}).items()}
        index = {name: i for i, name in names.items()}
        index |= {str(i): i for i in names if str(i) not in index}
        classes = []
        for label, place in zip(self.labels, self.places, strict=True):
            if label not in index:
                raise LabelError(
                    f'the model has no class "{label}"; it has {", ".join(names.values())}.'
                    f"{did_you_mean(label, index)}",
                    where=place,
                )
            classes.append(index[label])
        return np.asarray(classes, dtype=np.int64)


def class_accuracy(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    name: str = "classes",
    places: Sequence[str] | None = None,
) -> ClassAccuracy:
    """Return the accuracy of a model's classification head; labels are its class names or numbers.

    Raises
    ------
    InputError
        No text, or lists of different length.
    """
    if not texts or len(texts) != len(labels):
        raise InputError(f"{len(labels)} labels for {len(texts)} texts", where=name)
    where = [f"{name}:{i + 1}" for i in range(len(texts))] if places is None else list(places)
    return ClassAccuracy(
        name=name,
        unit="share right",
        groups=column([str(label) for label in labels]),
        clusters=column(where),
        scale=100.0,
        texts=tuple(texts),
        labels=tuple(str(label) for label in labels),
        places=tuple(where),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Effect):
    """Whether a fixed linear probe still reads a word's class from neurons, 1 or 0 a word.

    With an edit below the probe's neurons it tells whether what the probe reads was made from
    what was edited. The value of a word is that at its last subword.
    """

    corpus: Corpus
    rows: np.ndarray
    truth: np.ndarray
    neurons: tuple[str, ...]
    coef: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def measure(self, model: LoadedModel) -> np.ndarray:
        """Return 1 where the probe gives a word its class, (items,)."""
        values = self.activations(model)
        scores = (values - self.mean) / self.spread @ self.coef.T + self.intercept
        return (scores.argmax(axis=1) == self.truth).astype(np.float64)

    def activations(self, model: LoadedModel) -> np.ndarray:
        """Return the neurons' values at the words, as the model runs now, (items, neurons)."""
        import torch

        places = [parse_neuron(name) for name in self.neurons]
        with paused():
            sites = resolve_sites(model, list(dict.fromkeys(site for site, _ in places)))
        by_name = {site.name: site for site in sites}
        items = make_items(model, list(self.corpus), "error")
        ids = tuple(tuple(int(i) for i in item.ids) for item in items)
        every = np.arange(len(items))
        plan = Plan(ids, every, every * 0, every * 0, every, len(items))
        found = np.full((self.corpus.n_tokens, len(places)), np.nan)
        with torch.inference_mode(), capture(model, sites) as seen:
            # One length a batch, so that padding plays no part.
            for batch in batches_of(model, plan, equal=True):
                run(model, batch.ids, batch.mask)
                for site, each in seen.items():
                    columns = [j for j, (name, _) in enumerate(places) if name == site]
                    units = [places[j][1] for j in columns]
                    block = each[..., units].double().cpu().numpy()
                    shift = offset(by_name[site])
                    for target, row in zip(batch.target, batch.row, strict=True):
                        item = items[int(target)]
                        last = item.pieces[item.bounds[1:] - 1] + shift
                        found[item.rows[:, None], np.asarray(columns)] = block[row][last]
        return found[self.rows]


def readout(
    corpus: Corpus,
    label: str,
    *,
    classes: Sequence[str],
    neurons: Sequence[str],
    coef: np.ndarray,
    intercept: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    name: str | None = None,
) -> Readout:
    """Return the accuracy of a linear probe on a corpus, read from the running model.

    Parameters
    ----------
    corpus, label
        Words and the column that holds their classes; words without a value or of another class
        than the probe's are not items.
    classes
        The probe's classes, in the order of ``coef``.
    neurons
        Ids of the probe's neurons, (d,), all of sites of the model.
    coef, intercept
        Weights on standardised neurons (C, d), and (C,).
    mean, spread
        What neurons are standardised by, (d,).

    Raises
    ------
    LabelError
        The corpus has no such column, or no word of the probe's classes.
    SettingError
        Arrays that do not fit.
    """
    shapes = {
        "coef": (np.shape(coef), (len(classes), len(neurons))),
        "intercept": (np.shape(intercept), (len(classes),)),
        "mean": (np.shape(mean), (len(neurons),)),
        "spread": (np.shape(spread), (len(neurons),)),
    }
    for what, (has, wants) in shapes.items():
        if tuple(has) != wants:
            raise SettingError(f"{what} has shape {tuple(has)}, not {wants}")
    if label not in corpus.tokens.columns:
        raise LabelError(
            f'{corpus.name} has no column "{label}".{did_you_mean(label, corpus.labels)}'
        )
    index = {str(name): i for i, name in enumerate(classes)}
    values = corpus.tokens[label].to_list()
    rows = np.array([i for i, value in enumerate(values) if value in index], dtype=np.int64)
    if not len(rows):
        raise LabelError(f"{corpus.name} has no word whose {label} is a class of the probe")
    safe = np.where(np.asarray(spread) > 0, spread, 1.0)
    return Readout(
        name=name or f"probe of {label}",
        unit="share right",
        groups=column([str(values[int(i)]) for i in rows]),
        clusters=column([str(s) for s in corpus.tokens["sentence"].to_numpy()[rows]]),
        scale=100.0,
        corpus=corpus,
        rows=rows,
        truth=np.array([index[values[int(i)]] for i in rows], dtype=np.int64),
        neurons=tuple(neurons),
        coef=np.asarray(coef, dtype=np.float64),
        intercept=np.asarray(intercept, dtype=np.float64),
        mean=np.asarray(mean, dtype=np.float64),
        spread=safe.astype(np.float64),
    )
