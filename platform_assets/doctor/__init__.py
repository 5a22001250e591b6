"""What a machine has, what the settings say, and whether all that they name answers: looked at, and nothing changed."""
