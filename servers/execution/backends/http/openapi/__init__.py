"""OpenAPI 3.0 and 3.1 documents become tools of an HTTP source."""
