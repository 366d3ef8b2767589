"""Marina as an OAuth client of what data sources stand on: finding who signs in, being known there, getting tokens.

Plain async code over ``core.outbound_http``. It keeps nothing and decides nothing: what comes of it goes to services,
which seal it.
"""
