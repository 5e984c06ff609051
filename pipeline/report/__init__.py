"""What a sweep tells at its end: summary, page, figures."""
