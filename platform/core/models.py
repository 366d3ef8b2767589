"""The kernel's tables, of no tenant: proof that the master key at hand is the one this database was set up with, and
when scheduled work was last done.
"""

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


class Round(models.Model):
    """When a round of scheduled work, by its task's name, last began and ended. See ``core.rounds``."""

    name = models.CharField(max_length=100, primary_key=True)
    begun_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name
