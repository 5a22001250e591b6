"""Whether a number is odd, as a task of the platform."""
