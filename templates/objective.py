

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
    """Return Adam, whose learning rate falls to zero along a cosine within `steps`."""
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, decay_steps=steps)
    return keras.optimizers.Adam(schedule)
