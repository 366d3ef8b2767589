"""What the operator of an installation sees, below ``/operator/``: Django's admin, one team at a time."""
