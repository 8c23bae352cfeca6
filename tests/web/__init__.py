"""The pages to try patients on, and the planner's form."""
