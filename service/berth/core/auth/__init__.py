"""Authentication of callers, rate limits, and the throttling of failed logins."""
