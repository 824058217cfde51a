"""Write pictures of two classes into the working directory's data/birds/."""

from pathlib import Path

import numpy as np
from PIL import Image

random = np.random.default_rng(0)
for name, tint in (("crow", 20), ("swan", 120)):
    directory = Path("data/birds") / name
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(120):
        height, width = random.integers(30, 60, 2)
        pixels = random.integers(0, 100, (height, width, 3)) + tint
        Image.fromarray(pixels.astype(np.uint8)).save(directory / f"{number}.png")
