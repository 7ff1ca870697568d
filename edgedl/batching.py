"""Many rows through a model that takes a fixed number of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgedl.spec import Array, Feeds, TensorSpec


def batched(
    run: Callable[[Feeds], dict[str, Array]], specs: tuple[TensorSpec, ...]
) -> Callable[[Feeds], dict[str, Array]]:
    """`run` for any number of rows: as it is where the inputs fit, else in chunks of the fixed batch, the last one padded."""

    def predict(feeds: Feeds) -> dict[str, Array]:
        batch = fixed_batch(feeds, specs)
        if batch is None:
            return run(feeds)
        rows = len(next(iter(feeds.values())))
        chunks = [run(take_rows(feeds, start, batch)) for start in range(0, rows, batch)]
        return {name: np.concatenate([chunk[name] for chunk in chunks])[:rows] for name in chunks[0]}

    return predict


def take_rows(feeds: Feeds, start: int, count: int) -> dict[str, Array]:
    """`count` rows from `start`, going round at the end."""
    return {name: np.take(array, np.arange(start, start + count) % len(array), axis=0) for name, array in feeds.items()}


def fixed_batch(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> int | None:
    """The model's number of rows, where that and nothing else is what keeps the feeds from fitting."""
    fixed = {spec.shape[0] for spec in specs if spec.shape}
    rows = {len(feeds[spec.name]) for spec in specs if spec.name in feeds and np.ndim(feeds[spec.name])}
    if len(fixed) != 1 or len(rows) != 1 or fixed == rows:
        return None
    (batch,) = fixed
    return batch if isinstance(batch, int) and all(spec.shape for spec in specs) else None
