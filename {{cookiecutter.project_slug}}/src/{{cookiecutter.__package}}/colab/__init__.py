"""What Google Colab (or Kaggle, or a plain machine) gives and lacks; knows nothing of models."""
