{% include "config_common.py" %}
    epochs: int = 5  # passes over the training examples
    batch_size: int = 32  # examples per step, of all GPUs together
    learning_rate: float = 5e-3  # the highest: it falls to zero along a cosine
    dropout: float = 0.25  # fraction of words, and of units before the last layer, while training
    vocabulary_size: int = 20_000  # words that the model tells apart, the most frequent ones
    sequence_length: int = 300  # words of a text that the model reads
{% include "config_checks.py" %}
