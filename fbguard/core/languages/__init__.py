"""What is said to the person, one catalogue a language: reason -> sentence."""
