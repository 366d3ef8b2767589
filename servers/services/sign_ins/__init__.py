"""Sign-ins to what data sources stand on: made by a browser, kept sealed, renewed in time, and ended."""
