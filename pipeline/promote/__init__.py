"""The promotion gate: challenger against champion on the same images, the ledger of decisions, the way back.

`promotion` is the story; `rules` says what decides, `carry_out` in which order a decision takes effect.

Imported by: .
Imports: `vit`, `errors`, `config`, `statistics`, `trials`, `terminal`, `tracking`, `registry`, `session`.
"""
