"""What people type into the dashboard's forms. Parsing only: services decide what is allowed."""
