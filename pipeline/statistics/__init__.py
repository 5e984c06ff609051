"""How sure a figure is: intervals of accuracies, two models on the same images, calibration. Numbers in, numbers out.

Imported by: `registry`, `page`, `session`, `promote`, `compare`.
Imports: nothing, being a command.
"""
