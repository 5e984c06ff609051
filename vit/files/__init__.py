"""What is kept: files by path or URI, checkpoints, and what a registered model does when loaded.

Imports the other three.
"""
