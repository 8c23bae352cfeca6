"""Who may call, where we may call, how much of either. Knows neither FHIR nor cards."""
