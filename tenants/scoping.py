"""Tenant scope: the only door to rows that belong to a tenant. A query with no scope raises.

Two layers, each enough on its own: managers filter by the tenant in scope, and PostgreSQL's row-level
security filters by ``app.tenant``, which is set for one transaction only (a session-level setting would
leak to the connection's next user).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar

from django.db import connection, models, transaction

M = TypeVar("M", bound=models.Model)

_tenant: ContextVar[int | None] = ContextVar("marina_tenant", default=None)

NO_TENANT = 0
"""What ``app.tenant`` holds in ``directory_scope``: no row has it, yet reading it does not raise."""


class TenantScopeMissing(RuntimeError):
    """Tenant-owned rows were asked for while no tenant was in scope. A fault in our code, never input."""


def current_tenant_id() -> int:
    """The tenant in scope. Raises ``TenantScopeMissing`` when there is none."""
    tenant_id = _tenant.get()
    if tenant_id is None:
        raise TenantScopeMissing("no tenant in scope: wrap the unit of work in tenant_scope(tenant_id)")
    return tenant_id


@contextmanager
def tenant_scope(tenant_id: int) -> Iterator[None]:
    """One unit of work for one tenant: a transaction in which both layers know the tenant.

    A scope inside a scope of the same tenant joins it; of another tenant, it raises.
    """
    _check(tenant_id)
    outer = _tenant.get()
    with transaction.atomic():
        if outer is None:
            _configure(tenant=tenant_id)
        token = _tenant.set(tenant_id)
        try:
            yield
        finally:
            _tenant.reset(token)


@contextmanager
def tenant_scope_of(slug: str) -> Iterator[int | None]:
    """``tenant_scope`` of the tenant with this slug, looked up by the statement that sets the scope; yields its id.

    ``None``: there is no such tenant, and none is in scope. Inside another scope, it raises.
    """
    if _tenant.get() is not None:
        raise TenantScopeMissing("a tenant was looked up by its slug inside a tenant's scope")
    with transaction.atomic():
        tenant_id = _configure_by_slug(slug)
        if tenant_id is None:
            yield None
            return
        token = _tenant.set(tenant_id)
        try:
            yield tenant_id
        finally:
            _tenant.reset(token)


@contextmanager
def directory_scope(
    *,
    user_id: int | None = None,
    key_digest: bytes | None = None,
    invitation_digest: bytes | None = None,
    email: str | None = None,
) -> Iterator[None]:
    """Look up what is not yet known to belong to a tenant: a user's own memberships, a key by its digest, an
    invitation by that of its token or by the address that it went to.

    Row-level security shows exactly those rows; every other tenant-owned row stays hidden.
    Query through ``Model.directory`` (managers of scoped models still raise).
    """
    if _tenant.get() is not None:
        raise TenantScopeMissing("a directory look-up was made inside a tenant's scope")
    with transaction.atomic():
        _configure(
            tenant=NO_TENANT,
            user="" if user_id is None else str(user_id),
            key="" if key_digest is None else key_digest.hex(),
            invitation="" if invitation_digest is None else invitation_digest.hex(),
            email=email or "",
        )
        yield


def _check(tenant_id: int) -> None:
    # The number may come out of a queue.
    if type(tenant_id) is not int:
        raise TenantScopeMissing("a tenant is named by its number")
    if _tenant.get() not in (None, tenant_id):
        raise TenantScopeMissing("a scope of one tenant was opened inside another tenant's scope")


_CONFIGURE: Final = (
    "SELECT set_config('app.tenant', %s, true), set_config('app.user', %s, true), "
    "set_config('app.key', %s, true), set_config('app.invitation', %s, true), "
    "set_config('app.email', %s, true)"
)
_NOT_DURABLE: Final = _CONFIGURE + ", set_config('synchronous_commit', 'off', true)"
_CONFIGURE_BY_SLUG: Final = _CONFIGURE.replace(
    "%s", "coalesce((SELECT id FROM tenants_tenant WHERE slug = %s), 0)::text", 1
)


def _configure_by_slug(slug: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(_CONFIGURE_BY_SLUG, [slug, "", "", "", ""])
        # A setting's new value is what setting it gives.
        found = int(cursor.fetchone()[0])
    return None if found == NO_TENANT else found


def _configure(
    *,
    tenant: int,
    user: str = "",
    key: str = "",
    invitation: str = "",
    email: str = "",
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_CONFIGURE, [str(tenant), user, key, invitation, email])


def run_scoped(
    tenant_id: int, statement: str, parameters: Sequence[Any], *, durable: bool = True
) -> list[tuple[Any, ...]]:
    """One statement that gives rows, in ``tenant_scope``: by one exchange with the database, where a scope takes three.

    Row-level security alone keeps it to the tenant's rows: the statement names ``tenant_id`` itself where the second
    layer is to hold, too. Inside a scope of the tenant it is a statement of that; of another tenant, it raises.
    """
    _check(tenant_id)
    if _tenant.get() == tenant_id:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())
    if connection.in_atomic_block:
        raise TenantScopeMissing(
            "a statement of a scope of its own was made inside a transaction without one"
        )
    configure = _CONFIGURE if durable else _NOT_DURABLE
    with connection.cursor() as cursor:
        # What is sent together is a transaction of its own: the settings end with it.
        cursor.execute(f"{configure}; {statement}", [str(tenant_id), "", "", "", "", *parameters])
        cursor.nextset()
        return list(cursor.fetchall())


class TenantQuerySet(models.QuerySet[M], Generic[M]):
    """A query set over one tenant's rows."""


class TenantManager(models.Manager[M], Generic[M]):
    """Gives the rows of the tenant in scope, and raises ``TenantScopeMissing`` without one."""

    def get_queryset(self) -> TenantQuerySet[M]:
        return TenantQuerySet[M](self.model, using=self._db).filter(tenant_id=current_tenant_id())

    def create(self, **values: Any) -> M:
        """Create a row of the tenant in scope; another tenant's id raises."""
        tenant_id = current_tenant_id()
        given = values.get("tenant_id", getattr(values.get("tenant"), "pk", tenant_id))
        if given != tenant_id:
            raise TenantScopeMissing("a row of another tenant cannot be created in this scope")
        values.pop("tenant", None)
        values["tenant_id"] = tenant_id
        return super().create(**values)


class TenantOwned(models.Model):
    """Base of every tenant-owned table. Its migration must call ``row_security`` (a test checks)."""

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")

    objects = TenantManager()
    # Unfiltered by Python, for directory_scope only: row-level security still holds beneath it.
    directory = models.Manager()

    class Meta:
        abstract = True
        base_manager_name = "directory"
        default_manager_name = "objects"
