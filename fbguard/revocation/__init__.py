"""Sessions that end: by a call of the app, and by what Facebook tells it."""
