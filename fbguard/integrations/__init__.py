"""fbguard in the words of each framework. Imported by name; importing fbguard imports none of them."""
