"""MLflow: its server, the one writer of runs, what a trial's run holds, weights and test set reads that it knows of.

Everything that records or looks up runs imports this. It imports `figures` and `trials`, and knows nothing of Ray.
"""
