"""The command that classifies any number of images with a registered model, as a stream through Ray Data.

`inputs`: which images there are. `decoding`: from a list of them to pixels. `classifier`: from pixels to classes, on
actors that hold the model. `prediction`: the stream of all three. `output`: the file that it ends in.

Imported by: .
Imports: `vit`, `errors`, `config`, `terminal`, `cluster`, `tracking`.
"""
