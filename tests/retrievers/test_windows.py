"""The convolution over windows of three words."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray

from multirecall.retrievers._towers.text_encoders import WindowMaxima, widest_maxima
from multirecall.retrievers._towers.windows import window_maxima

N_WORDS, N_FILTERS = 7, 5


def texts(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Parts of seven words, and five texts: of no word, one, two, and more, with a word twice in a row."""
    parts = rng.normal(size=(N_WORDS, 3 * N_FILTERS)).astype(np.float32)
    places = np.array([4, 0, 6, 1, 1, 3, 5, 2, 0], np.int64)
    return parts, places, np.array([0, 0, 1, 3, 9, 9], np.int64)


def oracle(parts: NDArray[np.float32], words: NDArray[np.int64]) -> NDArray[np.float32]:
    left, middle, right = np.split(parts, 3, axis=1)
    windows = []
    for place, word in enumerate(words.tolist()):
        window = middle[word].copy()
        if place:
            window += left[words[place - 1]]
        if place + 1 < len(words):
            window += right[words[place + 1]]
        windows.append(window)
    return np.max(windows, axis=0) if windows else np.zeros(middle.shape[1], np.float32)


def test_the_best_window_wins() -> None:
    parts, places, offsets = texts(np.random.default_rng(0))
    best, where = window_maxima(parts, places, offsets)
    for text, (begin, end) in enumerate(itertools.pairwise(offsets)):
        np.testing.assert_allclose(best[text], oracle(parts, places[begin:end]), rtol=1e-6)
        assert ((where[text] >= begin) & (where[text] < end)).all() or begin == end
    assert (where[0] == -1).all()


def test_gradient_equals_that_of_torch() -> None:
    """The form for a GPU is written in torch, which finds its own gradient."""
    parts, places, offsets = (torch.from_numpy(one) for one in texts(np.random.default_rng(1)))
    found = []
    for maxima in (WindowMaxima.apply, widest_maxima):
        leaf = parts.clone().requires_grad_()
        best = maxima(leaf, places, offsets)
        (best * torch.arange(1.0, 1 + best.numel()).view_as(best)).sum().backward()
        found.append((best.detach(), leaf.grad))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
