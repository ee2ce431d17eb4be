"""The login of people with a browser: to Facebook's dialog and back, with the token in a cookie."""
