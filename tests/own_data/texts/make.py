"""Write reviews.csv into the working directory's data/."""

import csv
import random
from pathlib import Path

chance = random.Random(0)
said = {
    "good": ["great", "lovely", "works", "fast", "again"],
    "bad": ["broken", "slow", "refund", "never", "awful"],
}
file = Path("data/reviews.csv")
file.parent.mkdir(exist_ok=True)
with file.open("w", newline="", encoding="utf-8") as opened:
    writer = csv.writer(opened)
    writer.writerow(["review", "stars"])
    for number in range(400):
        stars, words = list(said.items())[number % 2]
        text = chance.choices(words, k=4) + chance.choices(["the", "a", "it", "this,", "was"], k=8)
        chance.shuffle(text)
        writer.writerow([" ".join(text), stars])
