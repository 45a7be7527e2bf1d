"""Any batch size, order and padding: the same activations, for every architecture."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tiny_models as tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from nissl.extraction import extract


@functools.cache
def alone(kind: str, sentence: int) -> dict[str, np.ndarray]:
    """Activations of one sentence run by itself, without any padding: site → (words, width)."""
    store = extract(
        tiny.corpus((tiny.SENTENCES[sentence],)),
        tiny.loaded(kind),
        sites=("hidden", "mlp"),
        batch_tokens=1,
        progress=False,
    )
    return {site.name: store[site.name] for site in store.sites}


def same(got: np.ndarray, want: np.ndarray, name: str) -> None:
    """Equal within 1e-5 of the largest value of the site.

    The weights are drawn wide, so that streams without a norm reach 1e2, where float32 has no
    1e-5 to show.
    """
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("kind", tiny.TEXT)
@settings(max_examples=8, deadline=None, database=None, derandomize=True)
@given(
    order=st.permutations(range(len(tiny.SENTENCES))),
    batch_tokens=st.integers(1, 300),
)
def test_batch_order_and_padding_do_not_matter(kind, order, batch_tokens):
    corpus = tiny.corpus(tuple(tiny.SENTENCES[i] for i in order))
    store = extract(
        corpus,
        tiny.loaded(kind),
        sites=("hidden", "mlp"),
        batch_tokens=batch_tokens,
        progress=False,
    )
    for site in store.sites:
        want = np.concatenate([alone(kind, i)[site.name] for i in order])
        same(store[site.name], want, site.name)
