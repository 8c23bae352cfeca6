"""What the service tells of itself: metrics, alerts, logs, traces."""
