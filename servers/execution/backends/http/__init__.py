"""HTTP APIs as a data source: tools made by hand, and of OpenAPI documents."""
