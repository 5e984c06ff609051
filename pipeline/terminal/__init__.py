"""The user's side of a command: flags, one-line errors and exit statuses, Ctrl-C, what is printed while trials run.

The commands and the sessions import this. It imports `config`, `errors` and `trials`.
"""
