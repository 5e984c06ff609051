"""A graph of stages: what each depends on, what of it has been computed before, and running the rest.

Knows nothing of Vision Transformers: what a stage does is a function that it is given. Sessions, plan and stages import
this. It imports `tracking`, in which the finished stages are remembered, and `figures` for the boxes of a drawing.
"""
