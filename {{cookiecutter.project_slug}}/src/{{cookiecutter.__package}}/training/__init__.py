"""What carries a training: batches, the loop, checkpoints, the model's delivery, the record."""
