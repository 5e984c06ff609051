"""Draws figures as PNG, and the graph of stages as text, Mermaid or SVG: takes plain values and writes a file.

A side process that has to start quickly draws with it, so it imports no framework except matplotlib.

Imported by: `tracking`, `graph`, `page`, `planning`, `report`, `sweep_actions`, `sweep`.
Imports: `errors`, `trials`.
"""
