"""The console: pages on which administrators watch the rules and set this site's own values."""
