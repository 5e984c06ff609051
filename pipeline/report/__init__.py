"""What a sweep tells at its end: the summary as values, in words, as a page, in MLflow and on the terminal.

The stages and `pipeline.sweep` import this. It imports `session`, `results`, `registry` and `figures`.
"""
