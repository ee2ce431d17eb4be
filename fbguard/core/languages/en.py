"""English."""

MESSAGES = {
    "missing_token": "Please log in with Facebook to continue.",
    "invalid_request": "The app sent a request that we could not read.",
    "malformed_token": "Your Facebook session could not be read. Please log in again.",
    "invalid_token": "Your Facebook session is no longer valid. Please log in again.",
    "expired": "Your Facebook session has expired. Please log in again.",
    "expires_soon": "Your Facebook session is about to expire. Please log in again.",
    "password_changed": "Your Facebook password was changed or you logged out. Please log in again.",
    "logged_out": "You have logged out of Facebook. Please log in again.",
    "session_invalidated": "Your Facebook session was ended. Please log in again.",
    "not_authorized": "You have not allowed this app to use your Facebook account. Please log in again.",
    "checkpointed": "Facebook needs you to check your account. Visit facebook.com, then log in again.",
    "unconfirmed_user": "Please confirm your account on facebook.com, then log in again.",
    "role_lost": "You no longer have the needed role on this Page. Ask an admin of the Page to restore it.",
    "app_inactive": "Please allow this app to use your Facebook account again.",
    "wrong_app": "This login belongs to another app. Please log in again here.",
    "wrong_token_type": "Please log in with your own Facebook account.",
    "data_access_expired": "This app's access to your Facebook data has run out. Please log in again.",
    "login_too_old": "Please enter your Facebook password again to continue.",
    "insufficient_scope": "This needs a permission that you have not given. Please allow it on Facebook.",
    "insufficient_target": "This needs your permission for this Page or account. Please give it on Facebook.",
    "limited_login": "This needs a full Facebook login. Please log in again and allow tracking if asked.",
    "too_many_lookups": "Too many attempts. Please try again in a while.",
    "throttled": "Facebook is busy. Please try again in a while.",
    "unavailable": "We could not reach Facebook. Please try again in a moment.",
    "misconfigured": "This service cannot reach Facebook at the moment. Please try again later.",
}

LABELS = {
    "login": "Continue with Facebook",
    "visit_facebook": "Go to Facebook",
    "wait": "Try again",
    "developers": "For developers",
}
