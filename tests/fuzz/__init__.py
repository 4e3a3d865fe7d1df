"""Coverage-guided fuzzing of our own parsers: ``targets`` are these, ``__main__`` runs them."""
