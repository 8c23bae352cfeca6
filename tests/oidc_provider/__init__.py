"""Signing in to the console with an account of an OpenID Connect provider of other hands."""
