"""The demo: two tenants on real data, so that the first call needs no set-up. Never loaded by a deployment."""
