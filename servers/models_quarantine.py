"""What of a data source is not to be used before somebody looked at it. Fields and constraints."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class Quarantine(TenantOwned):
    """A tool, resource or prompt that its source describes otherwise than when it was taken over, or no more.

    ``name`` is the one by which the team offers it, of a resource its URI; ``reason`` is a sentence.
    """

    class What(models.TextChoices):
        TOOL = "tool"
        RESOURCE = "resource"
        PROMPT = "prompt"

    source = models.ForeignKey("servers.DataSource", on_delete=models.CASCADE, related_name="quarantined")
    what = models.CharField(max_length=8, choices=What.choices)
    name = models.CharField(max_length=1024)
    reason = models.CharField(max_length=500)
    since = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["what", "name"]
        constraints = [
            models.UniqueConstraint(fields=["source", "what", "name"], name="servers_quarantine_once")
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.name}"
