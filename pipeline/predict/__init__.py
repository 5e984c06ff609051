"""The command that classifies any number of images with a registered model, as a stream through Ray Data.

`inputs` finds the images. `decoding` turns a list of them into pixels. `classifier` turns pixels into classes, on
actors that hold the model. `prediction` is the stream through all three. `output` writes the file in which it ends.

Imported by: nothing, being a command.
Imports: `vit`, `errors`, `config`, `terminal`, `cluster`, `tracking`.
"""
