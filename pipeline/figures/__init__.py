"""Drawing: figures as PNG, the graph of stages as text, Mermaid and SVG; plain values in, a file out.

Whoever draws imports this, also a side process that must start in moments, so it imports no framework but matplotlib,
and of this project only `errors` and `trials.rungs`.
"""
