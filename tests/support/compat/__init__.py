"""Other people's clients against a served Atelier, and the scoreboard of what passes."""
