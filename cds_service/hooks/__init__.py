"""CDS Hooks on the wire: discovery, calls, feedback, and every refusal as an OperationOutcome."""
