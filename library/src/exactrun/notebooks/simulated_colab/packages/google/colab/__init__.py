"""What a simulated Colab offers of Google's package of this name."""
