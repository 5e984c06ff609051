"""The interactive charts of a page, as Vega-Lite: plain values in, a specification out; and the script that shows them.

Colours are the page's own variables, so a chart is dark where its page is, and light on paper.

Imported by: `page`.
Imports: nothing of this project.
"""
