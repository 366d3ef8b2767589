"""The addresses of teams, members, keys and the log, below /api/v1/."""

from __future__ import annotations

from django.urls import path

from tenants.api.audit import ConfirmView, RecordsView, RecordView, RevealView
from tenants.api.checkpoints import CheckpointsView, VerificationsView, VerificationView
from tenants.api.export_schedules import DeliverView, ScheduleRunsView, SchedulesView, ScheduleView
from tenants.api.exports import (
    ExportAgainView,
    ExportCancelView,
    ExportDownloadView,
    ExportLinksView,
    ExportManifestView,
    ExportsView,
    ExportView,
    LinkedDownloadView,
    LinkedManifestView,
)
from tenants.api.invitations import InvitationsView, InvitationView, ResendView
from tenants.api.issuers import OutsideIssuersView, OutsideIssuerTestView, OutsideIssuerView
from tenants.api.oauth import ConnectionsView, ConnectionView, OAuthClientsView, OAuthClientView
from tenants.api.retention import HoldLiftView, HoldsView, RetentionView, TombstonesView
from tenants.api.single_sign_on import (
    IdentitiesView,
    IdentityView,
    ProvidersView,
    ProviderTestView,
    ProviderView,
    SingleSignOnView,
)
from tenants.api.streams import (
    DeliveriesView,
    RedeliveryView,
    StreamPauseView,
    StreamResumeView,
    StreamRollView,
    StreamsView,
    StreamTestView,
    StreamView,
)
from tenants.api.teams import (
    KeyRollView,
    KeysView,
    KeyView,
    MembersView,
    MemberView,
    OwnershipView,
    OwnMembershipView,
    TenantDetailView,
    TenantsView,
)

urlpatterns = [
    path("tenants", TenantsView.as_view()),
    path("tenants/<str:tenant>", TenantDetailView.as_view()),
    path("tenants/<str:tenant>/members", MembersView.as_view()),
    path("tenants/<str:tenant>/members/me", OwnMembershipView.as_view()),
    path("tenants/<str:tenant>/ownership", OwnershipView.as_view()),
    path("tenants/<str:tenant>/members/<str:member>", MemberView.as_view()),
    path("tenants/<str:tenant>/invitations", InvitationsView.as_view()),
    path("tenants/<str:tenant>/invitations/<str:invitation>", InvitationView.as_view()),
    path("tenants/<str:tenant>/invitations/<str:invitation>/resend", ResendView.as_view()),
    path("tenants/<str:tenant>/api-keys", KeysView.as_view()),
    path("tenants/<str:tenant>/api-keys/<str:key>", KeyView.as_view()),
    path("tenants/<str:tenant>/api-keys/<str:key>/roll", KeyRollView.as_view()),
    path("tenants/<str:tenant>/oauth/connections", ConnectionsView.as_view()),
    path("tenants/<str:tenant>/oauth/connections/<str:connection>", ConnectionView.as_view()),
    path("tenants/<str:tenant>/oauth/clients", OAuthClientsView.as_view()),
    path("tenants/<str:tenant>/oauth/clients/<str:client>", OAuthClientView.as_view()),
    path("tenants/<str:tenant>/outside-issuers", OutsideIssuersView.as_view()),
    path("tenants/<str:tenant>/outside-issuers/<str:issuer>", OutsideIssuerView.as_view()),
    path("tenants/<str:tenant>/outside-issuers/<str:issuer>/test", OutsideIssuerTestView.as_view()),
    path("tenants/<str:tenant>/single-sign-on", SingleSignOnView.as_view()),
    path("tenants/<str:tenant>/single-sign-on/providers", ProvidersView.as_view()),
    path("tenants/<str:tenant>/single-sign-on/providers/<str:provider>", ProviderView.as_view()),
    path("tenants/<str:tenant>/single-sign-on/providers/<str:provider>/test", ProviderTestView.as_view()),
    path("tenants/<str:tenant>/single-sign-on/providers/<str:provider>/identities", IdentitiesView.as_view()),
    path(
        "tenants/<str:tenant>/single-sign-on/providers/<str:provider>/identities/<str:identity>",
        IdentityView.as_view(),
    ),
    path("tenants/<str:tenant>/audit/records", RecordsView.as_view()),
    path("tenants/<str:tenant>/audit/records/<str:seq>", RecordView.as_view()),
    path("tenants/<str:tenant>/audit/records/<str:seq>/reveal", RevealView.as_view()),
    path("tenants/<str:tenant>/audit/records/<str:seq>/confirm", ConfirmView.as_view()),
    path("tenants/<str:tenant>/audit/checkpoints", CheckpointsView.as_view()),
    path("tenants/<str:tenant>/audit/retention", RetentionView.as_view()),
    path("tenants/<str:tenant>/audit/holds", HoldsView.as_view()),
    path("tenants/<str:tenant>/audit/holds/<str:hold>/lift", HoldLiftView.as_view()),
    path("tenants/<str:tenant>/audit/tombstones", TombstonesView.as_view()),
    path("tenants/<str:tenant>/audit/verifications", VerificationsView.as_view()),
    path("tenants/<str:tenant>/audit/verifications/<str:verification>", VerificationView.as_view()),
    path("tenants/<str:tenant>/audit/exports", ExportsView.as_view()),
    path("tenants/<str:tenant>/audit/exports/<str:export>", ExportView.as_view()),
    path("tenants/<str:tenant>/audit/streams", StreamsView.as_view()),
    path("tenants/<str:tenant>/audit/streams/<str:stream>", StreamView.as_view()),
    path("tenants/<str:tenant>/audit/streams/<str:stream>/pause", StreamPauseView.as_view()),
    path("tenants/<str:tenant>/audit/streams/<str:stream>/resume", StreamResumeView.as_view()),
    path("tenants/<str:tenant>/audit/streams/<str:stream>/roll", StreamRollView.as_view()),
    path("tenants/<str:tenant>/audit/streams/<str:stream>/test", StreamTestView.as_view()),
    path("tenants/<str:tenant>/audit/streams/<str:stream>/deliveries", DeliveriesView.as_view()),
    path(
        "tenants/<str:tenant>/audit/streams/<str:stream>/deliveries/<str:delivery>/redeliver",
        RedeliveryView.as_view(),
    ),
    path("tenants/<str:tenant>/audit/exports/<str:export>/cancel", ExportCancelView.as_view()),
    path("tenants/<str:tenant>/audit/exports/<str:export>/run-again", ExportAgainView.as_view()),
    path("tenants/<str:tenant>/audit/exports/<str:export>/download", ExportDownloadView.as_view()),
    path("tenants/<str:tenant>/audit/exports/<str:export>/manifest", ExportManifestView.as_view()),
    path("tenants/<str:tenant>/audit/exports/<str:export>/links", ExportLinksView.as_view()),
    path("tenants/<str:tenant>/audit/exports/<str:export>/deliver", DeliverView.as_view()),
    path("tenants/<str:tenant>/audit/export-schedules", SchedulesView.as_view()),
    path("tenants/<str:tenant>/audit/export-schedules/<str:schedule>", ScheduleView.as_view()),
    path("tenants/<str:tenant>/audit/export-schedules/<str:schedule>/runs", ScheduleRunsView.as_view()),
    path("exports/<str:token>", LinkedDownloadView.as_view()),
    path("exports/<str:token>/manifest", LinkedManifestView.as_view()),
]
