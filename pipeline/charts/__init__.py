"""Turns plain values into a page's interactive charts (Vega-Lite specifications), and holds the script to show them.

The colours are the page's own CSS variables, so a chart is dark where its page is dark, and light in print.

Imported by: `page`.
Imports: nothing of this project.
"""
