"""Decides by a gate whether a challenger becomes champion, keeps the ledger of these decisions, and rolls back.

The gate compares the challenger with the champion on the same test images. Start reading at `promotion`, which holds
the steps in their order; `rules` holds what decides, and `carry_out` says in which order a decision takes effect.

Imported by: nothing, being a command.
Imports: `vit`, `errors`, `config`, `statistics`, `trials`, `terminal`, `tracking`, `registry`, `session`.
"""
