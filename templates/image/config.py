{% include "config_common.py" %}
    epochs: int = 15  # passes over the training examples
    batch_size: int = 32  # examples per step, of all GPUs together
    learning_rate: float = 2e-3  # the highest: it falls to zero along a cosine
    dropout: float = 0.3  # fraction of units dropped before the last layer, while training
{% include "config_checks.py" %}
