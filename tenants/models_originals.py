"""The keys under which teams' logs mark the originals of masked arguments. Fields and constraints."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from tenants.scoping import TenantOwned


class OriginalsKey(TenantOwned):
    """A team's key of marks (``tenants.audit.originals``), sealed. Made once, and never deleted or replaced.

    Another key would make another mark of the same arguments: no older record could be confirmed any more.
    """

    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant"], name="tenants_originalskey_one")]

    def __str__(self) -> str:
        return f"key of originals of {self.tenant_id}"

    @property
    def seal_context(self) -> str:
        """What the key is bound to: another team's does not open here."""
        return f"originals-key:{self.tenant_id}"
