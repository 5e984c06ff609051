"""Measures how long training takes here, by real steps of it. Imports `data`, `model`, `training` and `fused`."""
