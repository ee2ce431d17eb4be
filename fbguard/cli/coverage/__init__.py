"""What guards the routes of an app: found by looking at the app, without a request."""
