"""The page of a sweep: reads what MLflow has recorded of the sweep, and renders one HTML file from it.

Each section is a function of the records. If they lack what a section needs, the page says so in the section's place.

Imported by: `report`.
Imports: `vit`, `errors`, `statistics`, `trials`, `charts`, `figures`, `tracking`.
"""
