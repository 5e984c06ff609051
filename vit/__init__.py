"""A Vision Transformer trained from scratch: plain PyTorch, usable on its own, without Ray or MLflow."""
