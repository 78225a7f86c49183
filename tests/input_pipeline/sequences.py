"""Articles of vectors that several test files share."""

import numpy as np
import pandas as pd

WIDTH = 8


def articles(lengths=(9, 4, 12, 7, 10, 8), seed=0):
    """Vectors with a table, rows in no order."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        [
            {"article": 100 + i, "position": p, "title": f"title {i}"}
            for i, length in enumerate(lengths)
            for p in range(length)
        ]
    )
    x = rng.standard_normal((len(table), WIDTH)).astype(np.float32)
    mixed = rng.permutation(len(table))
    return x[mixed], table.iloc[mixed].reset_index(drop=True)


def write_npz(path, x, table, **more):
    columns = {name: table[name].to_numpy() for name in table}
    columns["title"] = columns["title"].astype(str)
    np.savez_compressed(path, embedding=x, **columns, **more)
    return path
