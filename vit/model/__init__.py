"""The network: its configuration, its layers, the whole, and what its work amounts to. Imports no data."""
