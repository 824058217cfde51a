"""What a run needs: the settings, the data, the model, and what carries them through a training.

`config`, `data` and `model` are yours to edit; `training` and `colab` carry them.
TensorFlow is imported only by the modules that use it.
"""
