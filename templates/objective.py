

def build_loss(classes: int) -> keras.losses.Loss:
    """Return the loss of each example, unreduced: the loop divides by the whole batch."""
    if classes == 1:
        return keras.losses.BinaryCrossentropy(reduction=None)
    return keras.losses.SparseCategoricalCrossentropy(reduction=None)


def build_metric(classes: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the accuracy of each example, 1 or 0; what is shown is its mean over all of them.

    It takes class indices, shape (batch,), and probabilities, shape (batch, classes).
    """
    if classes == 1:
        return lambda y, answers: keras.metrics.binary_accuracy(y, answers[:, 0])
    return keras.metrics.sparse_categorical_accuracy


def build_optimizer(config: Config, *, steps: int) -> keras.optimizers.Optimizer:
    """Return Adam, whose learning rate rises, then falls to zero along a cosine, in `steps`."""
    rising = int(steps * config.warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rising else config.learning_rate,
        decay_steps=steps - rising,
        warmup_target=config.learning_rate if rising else None,
        warmup_steps=rising,
    )
    return keras.optimizers.Adam(schedule)
