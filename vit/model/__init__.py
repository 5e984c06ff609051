"""The network: its configuration, layers, the whole model, attention rollout and the work of a forward pass.

Imports nothing of `data`.
"""
