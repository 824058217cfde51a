

def build_loss(classes: int) -> keras.losses.Loss:
    """Return the loss of each example, unreduced: the loop divides by the batch itself."""
    if classes == 1:
        return keras.losses.BinaryCrossentropy(reduction=None)
    return keras.losses.SparseCategoricalCrossentropy(reduction=None)


def build_metric(classes: int) -> keras.metrics.Metric:
    """Return the share of examples that are classified rightly."""
    if classes == 1:
        return keras.metrics.BinaryAccuracy(name="accuracy")
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def build_optimizer(config: Config, *, steps: int) -> keras.optimizers.Optimizer:
    """Return Adam, whose learning rate rises, then falls to zero along a cosine, in `steps`."""
    rising = int(steps * config.warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rising else config.learning_rate,
        decay_steps=steps - rising,
        warmup_target=config.learning_rate if rising else None,
        warmup_steps=rising,
    )
    return keras.optimizers.Adam(schedule, global_clipnorm=config.clip_norm or None)
