"""A sweep's page: what MLflow has of the sweep, read back, and one HTML file made of it.

Each section is a function of the records; where they lack what it needs, the page says so in its place.

Imported by: `report`.
Imports: `vit`, `errors`, `statistics`, `trials`, `charts`, `figures`, `tracking`.
"""
