"""Drawing: figures as PNG, the graph of stages as text, Mermaid and SVG; plain values in, a file out.

A side process that must start in moments draws with it, so it imports no framework but matplotlib.

Imported by: `tracking`, `graph`, `page`, `planning`, `report`, `sweep_actions`, `sweep`.
Imports: `errors`, `trials`.
"""
