"""The kernel's one table: proof that the master key at hand is the one this database was set up with."""

from __future__ import annotations

from django.db import models


class SealCheck(models.Model):
    """A known text, sealed at set-up. A process whose key does not open it refuses to run."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    sealed = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="core_sealcheck_single_row")]

    def __str__(self) -> str:
        return "seal check"
