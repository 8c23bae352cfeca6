"""What is counted and timed while the service runs: table of metrics, instruments, stages of a call, traces."""
