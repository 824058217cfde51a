"""Write houses.csv into the working directory's data/."""

import csv
from pathlib import Path

import numpy as np

random = np.random.default_rng(0)
x = random.normal(size=(600, 4)).round(3)
price = (100 + x @ [30, -20, 10, 5] + random.normal(size=600)).round(2)
file = Path("data/houses.csv")
file.parent.mkdir(exist_ok=True)
with file.open("w", newline="", encoding="utf-8") as opened:
    writer = csv.writer(opened)
    writer.writerow(["area", "age", "rooms", "floor", "price"])
    writer.writerows([*row, y] for row, y in zip(x.tolist(), price.tolist(), strict=True))
