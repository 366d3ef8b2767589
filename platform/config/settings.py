"""Django's settings, made of ``Env``. Holds no secret of its own and reads no variable itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kombu.entity import Queue

from config.env import get_env
from config.logs import logging_config
from core.crypto import derive_text
from tenants.roles import OAUTH_DEFAULT, OAUTH_SCOPES

ROOT = Path(__file__).resolve().parent.parent.parent
ENV = get_env()

SECRET_KEY = derive_text(ENV.master_key, "django-secret-key")
# Nobody is signed out, and no link in a letter dies, because the master key is another one now.
SECRET_KEY_FALLBACKS = [derive_text(key, "django-secret-key") for key in ENV.readable_keys]
DEBUG = ENV.debug
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.debugpages.NothingShown"
ALLOWED_HOSTS = sorted(
    {host.rpartition(":")[0] or host for host in ENV.allowed_hosts} | set(ENV.allowed_hosts)
)
CSRF_TRUSTED_ORIGINS = list(ENV.allowed_origins)
SECURE = ENV.base_url.startswith("https://")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "channels",
    "django_htmx",
    "django_vite",
    "oauth2_provider",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "config",
    "core",
    "tenants",
    "servers",
    "frontend",
    # After the dashboard, whose templates of the same names come first.
    "django.contrib.admin.apps.SimpleAdminConfig",
]

MIDDLEWARE = [
    "config.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "frontend.sessions.SignInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "frontend.middleware.ErrorPageMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database(url: str, *, pooled: bool) -> dict[str, Any]:
    parts = urlsplit(url)
    options: dict[str, Any] = {"connect_timeout": 5, "tcp_user_timeout": 5000, "application_name": "marina"}
    if pooled:
        # A process that stops in the middle of a transaction, with its machine for one, holds what others wait for.
        options["options"] = "-c idle_in_transaction_session_timeout=30s"
        # The pool outlives requests; app.tenant is set per transaction, so a connection carries no tenant.
        options["pool"] = {"min_size": 0, "max_size": 10, "timeout": 5, "reconnect_timeout": 10}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }


DATABASES = {
    "default": _database(ENV.app_database_url, pooled=True),
    # Migrations only: `manage.py migrate --database owner`, which setup_database calls.
    "owner": _database(ENV.owner_database_url, pooled=False),
}
DATABASE_ROUTERS: list[str] = []
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "tenants.User"
# An e-mail address is unique in lower case, by a constraint that this check does not see.
SILENCED_SYSTEM_CHECKS = ["auth.E003"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
PASSWORD_HASHERS = ["config.passwords.BoundedArgon2Hasher"]
# An hour more than it takes to find the mail; a link in an old mailbox opens nothing.
PASSWORD_RESET_TIMEOUT = 4 * 3600

_MAIL_BACKEND = "smtp" if ENV.mail.host else "filebased" if ENV.mail.folder else "console"
EMAIL_BACKEND = f"django.core.mail.backends.{_MAIL_BACKEND}.EmailBackend"
EMAIL_HOST, EMAIL_PORT = ENV.mail.host, ENV.mail.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = ENV.mail.user, ENV.mail.password
EMAIL_USE_TLS, EMAIL_USE_SSL = ENV.mail.tls == "starttls", ENV.mail.tls == "implicit"
EMAIL_FILE_PATH = ENV.mail.folder or None
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = ENV.mail.sender

LOGIN_URL = "/app/sign-in"
LOGIN_REDIRECT_URL = "/app/"
LOGOUT_REDIRECT_URL = "/app/sign-in"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_NAME = "marina_session"
CSRF_COOKIE_NAME = "marina_csrf"
CSRF_FAILURE_VIEW = "frontend.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = ENV.max_body_bytes

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [ROOT / "frontend" / "dist"] if (ROOT / "frontend" / "dist").is_dir() else []
# Vite puts a content hash into each file's name, so finders serve them as they are, for ever cacheable.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_IMMUTABLE_FILE_TEST = r"^.+[-.][0-9A-Za-z_-]{8,}\.[0-9a-z.]+$"
DJANGO_VITE = {"default": {"dev_mode": False, "manifest_path": ROOT / "frontend" / "dist" / "manifest.json"}}

# Every table of django-oauth-toolkit's that is used is one of ours, so it migrates nothing.
MIGRATION_MODULES = {"oauth2_provider": None}
OAUTH2_PROVIDER_APPLICATION_MODEL = "tenants.OAuthClient"
OAUTH2_PROVIDER_GRANT_MODEL = "tenants.OAuthCode"
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "tenants.OAuthAccessToken"  # noqa: S105 - a model's name
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "tenants.OAuthRefreshToken"  # noqa: S105
# Neither OpenID Connect nor device codes are offered. The toolkit's models for them have no tables, yet deleting a
# client or a person would look there; these names take their place and are asked for nothing.
OAUTH2_PROVIDER_ID_TOKEN_MODEL = "tenants.OAuthAccessToken"  # noqa: S105
OAUTH2_PROVIDER_DEVICE_GRANT_MODEL = "tenants.OAuthCode"
OAUTH2_PROVIDER = {
    "SCOPES": OAUTH_SCOPES,
    "DEFAULT_SCOPES": list(OAUTH_DEFAULT),
    "PKCE_REQUIRED": True,
    "AUTHORIZATION_CODE_EXPIRE_SECONDS": 60,
    "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 86_400,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "ALLOW_URI_WILDCARDS": False,
    # Native clients register http://localhost/… and listen on a port that they find free (RFC 8252 section 7.3).
    "ALLOW_LOCALHOST_LOOPBACK": True,
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
    "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "refresh_token", "client_credentials"],
    "RESOURCE_SERVER_TOKEN_RESOURCE_VALIDATOR": "tenants.oauth_addresses.same_resource",
    **{
        f"COMPLIANT_BCP_RFC9700_{name}": True
        for name in (
            "IMPLICIT_GRANT",
            "PASSWORD_GRANT",
            "PKCE_METHOD",
            "PKCE_REQUIRED",
            "ACCESS_TOKEN_TRANSPORT",
            "AUTHZ_RESPONSE_ISS",
            "TOKEN_STORAGE",
            "REFRESH_TOKEN",
            "REDIRECT_URI_MATCHING",
        )
    },
}

# Of allauth, what keeps and checks second factors; signing in is the dashboard's own, so none of its pages are served.
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
MFA_ADAPTER = "tenants.services.factor_sealing.SealingAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
# A clock may be half a minute off. A code that was used, or an older one, is refused whatever the time.
MFA_TOTP_TOLERANCE = 1

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "servers.api.credentials.RecordedKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "servers.api.credentials.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Marina",
    "DESCRIPTION": "Configure teams, data sources, tools, servers and credentials; read and export the log.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {
        "InvitationStatus": "tenants.api.invitations.INVITATION_STATUSES",
        "RoleEnum": "tenants.api.serializers.ROLES",
        "GivenRole": "tenants.api.single_sign_on.GIVEN_ROLE_NAMES",
        "KeyStatus": "tenants.api.serializers.KEY_STATUSES",
        "ExportStatus": "tenants.models.AuditExport.Status",
        "StreamState": "tenants.api.streams.STREAM_STATES",
        "StreamKind": "tenants.api.streams.STREAM_KINDS",
        "SecretState": "servers.api.named_secrets.SECRET_STATES",
        "StateEnum": "servers.api.serializers.HEALTH_STATES",
        "VersionState": "servers.models.ToolVersion.State",
        "CircuitState": "servers.api.upstreams.UPSTREAM_STATES",
    },
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # A socket waits five seconds for a message and then again. redis-py gives up after five unless told.
        "CONFIG": {"hosts": [{"address": ENV.redis_url, "socket_timeout": 15}]},
    },
}

CELERY_BROKER_URL = ENV.redis_url
# A Redis that takes connections and then says nothing must not hold up who asks for an export.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "max_retries": 0}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# Exports take long: where they have a worker of their own, sweeps and checkpoints do not wait for them.
CELERY_TASK_ROUTES = {
    "tenants.tasks.run_export": {"queue": "exports"},
    "tenants.tasks.deliver_export": {"queue": "exports"},
}
# What a worker takes that is told of no queues.
CELERY_TASK_QUEUES = (Queue("celery"), Queue("exports"))  # type: ignore[no-untyped-call]
CELERY_BEAT_SCHEDULER = "config.scheduling:SteadyScheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep-tasks": {"task": "servers.tasks.sweep_tasks", "schedule": 5.0},
    # At rest a look at the database of a millisecond: this is how late a schedule's run begins.
    "run-schedules": {"task": "servers.tasks.run_schedules", "schedule": 2.0},
    "sweep-old-tasks": {"task": "servers.tasks.sweep_old_tasks", "schedule": 60.0},
    "sweep-exports": {"task": "tenants.tasks.sweep_exports", "schedule": 15.0},
    "note-ended-members": {"task": "tenants.tasks.note_ended_members", "schedule": 60.0},
    # At rest a look at the database of a millisecond: this is how soon a record leaves for a team's own receivers.
    "pump-streams": {"task": "tenants.tasks.pump_streams", "schedule": 1.0},
    "sweep-expired": {"task": "tenants.tasks.sweep_expired", "schedule": 600.0},
    "make-checkpoints": {"task": "tenants.tasks.make_checkpoints", "schedule": 5.0},
    "publish-checkpoints": {"task": "tenants.tasks.publish_checkpoints", "schedule": 5.0},
    "prune-logs": {"task": "tenants.tasks.prune_logs", "schedule": 900.0},
    "sweep-verifications": {"task": "tenants.tasks.sweep_verifications", "schedule": 15.0},
    "check-sources": {"task": "servers.tasks.check_sources", "schedule": 60.0},
    "check-secrets": {"task": "servers.tasks.check_secrets", "schedule": float(ENV.secrets.seconds)},
}

LOGGING = logging_config(debug=DEBUG)
