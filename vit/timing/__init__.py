"""How long training takes here, measured on real steps of it. Imports `data`, `model`, `training` and `fused`."""
