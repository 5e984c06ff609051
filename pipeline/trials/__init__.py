"""The trials of a search: how one trains, what it leaves, and who is told of it."""
