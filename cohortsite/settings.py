"""All settings, in one file. Every environment variable stands in .env.example with a sentence."""

import os
import stat
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.templatetags.static import static
from django.urls import reverse_lazy

from cohortsite.files import storage_of
from receiving.components import COMPONENTS as PARTNERS_COMPONENTS

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

# --- Who may talk to us -------------------------------------------------------------------
SECRET_KEY = env.str("SECRET_KEY", default="")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# HTTPS=false is for a loopback demo only: cookies then travel in clear.
HTTPS = env.bool("HTTPS", default=True)
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^metrics$"]
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SECURE = HTTPS
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "cohortsite.login.another_session"

# --- What the program is made of ----------------------------------------------------------
INSTALLED_APPS = [
    "cohortsite.apps.CohortsiteConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "cohortsite.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "simple_history",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "pagekit",
    "events",
    "people",
    "cohorts",
    "destinations",
    "syncs",
    "receiving",
]
MIDDLEWARE = [
    # Before anything that looks at the host or the scheme.
    "cohortsite.health.probes",
    # First of the rest: what a partner calls is answered there, and meets none of what follows.
    "receiving.middleware.partner_calls",
    "cohortsite.traced.traced",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "cohortsite.viewer_zone.viewer_zone",
    "cohortsite.proposes_instead.ProposesInstead",
    "cohortsite.caching.nothing_is_stored",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "cohortsite.urls"
WSGI_APPLICATION = "cohortsite.wsgi.application"
# The receiving endpoints exist with and without a final slash; a redirect would lose a POST's body.
APPEND_SLASH = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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

# --- Database -----------------------------------------------------------------------------
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))
# The database, uploads and events name people: what is made is for its owner alone.
os.umask(0o077)
VAR_DIR.mkdir(parents=True, exist_ok=True)
if VAR_DIR.stat().st_uid == os.geteuid() and not VAR_DIR.stat().st_mode & stat.S_ISVTX:
    VAR_DIR.chmod(0o700)  # what an earlier release made, with all that is in it; but no /tmp
DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR}/cohort-sync.sqlite3")}
# A connection is kept by its thread: opening one costs a partner's call more than the call itself.
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A transaction that begins by reading and then writes can otherwise fail at once
        # with "database is locked", whatever the timeout.
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8000;",
    }
else:
    # A process that freezes within a transaction, or whose machine is gone, would keep its rows locked for
    # hours: nobody could take its work over. And one that waits for a server that is gone finds out.
    # And nothing is compiled: for a query of many small parts, over tables that the server guesses to be
    # large, that takes seconds each time, and running it a millisecond (who needs a person: 3.5 s).
    # Nor is a bitmap made of an index: for a page of members, of a table filled since it was last analysed,
    # the server would gather and sort all that follow, each time; the index has them in order.
    for name, value in {
        "options": "-c idle_in_transaction_session_timeout=60s -c jit=off -c enable_bitmapscan=off",
        "keepalives_idle": "30",
        "tcp_user_timeout": "60000",
    }.items():
        DATABASES["default"].setdefault("OPTIONS", {}).setdefault(name, value)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Failed logins and used codes are counted there: in a process's own memory each server would count anew.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cohortsite_cache",
        # Above it old entries go, and with them what was counted.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# --- Events -------------------------------------------------------------------------------
# Where the spool and the files of events are, and what one calculation over them may use.
EVENTS_DIR = Path(env.str("EVENTS_DIR", default=str(VAR_DIR / "events")))
EVENTS_MEMORY_MB = env.int("EVENTS_MEMORY_MB", default=500)
EVENTS_THREADS = env.int("EVENTS_THREADS", default=2)
EVENTS_TEMP_MB = env.int("EVENTS_TEMP_MB", default=20_000)
EVENTS_SECONDS = env.float("EVENTS_SECONDS", default=300.0)
# How long files of events that were merged or corrected stay: longer than the oldest backup of the
# database that would ever be restored, since it names them. Imports can be undone exactly as long.
EVENTS_KEEP_DAYS = env.float("EVENTS_KEEP_DAYS", default=7.0)
# Days that events stay by their own time; 0: all of them.
EVENTS_HISTORY_DAYS = env.float("EVENTS_HISTORY_DAYS", default=0.0)
# Days that runs, membership of old versions, alerts and comparisons stay. Workers prune once a day if it is
# set; 0: prune_history alone prunes. PRUNE_DAYS is its older name, and goes before it.
HISTORY_DAYS = env.float("PRUNE_DAYS", default=0.0) or env.float("HISTORY_DAYS", default=0.0)
# How long files of uploads that failed stay.
UPLOADS_KEEP_DAYS = env.float("UPLOADS_KEEP_DAYS", default=14.0)
# A sync that is set back to an older version of its cohort for longer than this needs a person.
SET_BACK_DAYS = env.float("SET_BACK_DAYS", default=7.0)
# A preview in the admin is stopped after this time.
PREVIEW_SECONDS = env.float("PREVIEW_SECONDS", default=30.0)
# Empty: our own files. Otherwise postgres://… or clickhouse://…, where tables of events are.
EVENTS_URL = env.str("EVENTS_URL", default="")
# Their names there, and those of their columns, where they differ from ours: {"events": "app.events"}.
EVENTS_TABLES = env.json("EVENTS_TABLES", default={})
# Whether the tables at EVENTS_URL are ours (create_event_tables): what comes in is then inserted there.
EVENTS_INSERT = env.bool("EVENTS_INSERT", default=False)
# Databases that cohorts of the kind "query" may read, each by a name: {"warehouse": "postgres://…"}.
QUERY_DATABASES = env.json("QUERY_DATABASES", default={})

# --- Workers -------------------------------------------------------------------------------
# Empty: sync_worker or cron. Otherwise redis://… or amqp://…, which Celery's workers and beat use.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="")

# --- Secrets in the database --------------------------------------------------------------
# Fernet keys, the first one writes, all of them read.
FIELD_KEYS = env.list("FIELD_KEYS", default=[])

# --- Outgoing connections -----------------------------------------------------------------
OUTBOUND_ALLOW_NETS = env.list("OUTBOUND_ALLOW_NETS", default=[])
PARTNERS_DIR = env.str("PARTNERS_DIR", default="")
RETRY_TIME_SCALE = env.float("RETRY_TIME_SCALE", default=1.0)

# --- Uploads, large bodies ----------------------------------------------------------------
MEDIA_ROOT = VAR_DIR / "uploads"
# Empty: there. Otherwise an object store that several machines share: s3://bucket/prefix?endpoint=…
FILES_URL = env.str("FILES_URL", default="")
# A receiving workspace sets its own limit; Django's 2.5 MB would refuse 10,000 identifies.
DATA_UPLOAD_MAX_MEMORY_SIZE = env.int("MAX_BODY_BYTES", default=32 * 1024 * 1024)
# A file of user ids, in the browser or as the body of a REST call.
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=1024**3)
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

# --- The history, for analysts ------------------------------------------------------------
WAREHOUSE_URL = env.str("WAREHOUSE_URL", default="")

# --- Alerts -------------------------------------------------------------------------------
# Where people open this site: messages link to its pages. Empty: they carry no links.
SITE_URL = env.str("SITE_URL", default="").rstrip("/")
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", default="cohort-sync@localhost")
QUIET_SOURCES = env.bool("QUIET_SOURCES", default=True)
ALERT_EMAILS = env.list("ALERT_EMAILS", default=[])
ALERT_WEBHOOK_URL = env.str("ALERT_WEBHOOK_URL", default="")
ALERT_WEBHOOK_SECRET = env.str("ALERT_WEBHOOK_SECRET", default="")
VERSION_WEBHOOK_URL = env.str("VERSION_WEBHOOK_URL", default="")

# --- People -------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
] + [{"NAME": "cohortsite.passwords.EndsTokens"}]
LOGIN_URL = reverse_lazy("account_login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
# Proxies in front that add to X-Forwarded-For; 0: the address that connects is the client's.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXIES", default=0)
ACCOUNT_ADAPTER = "cohortsite.login.AccountAdapter"
ACCOUNT_FORMS = {"login": "cohortsite.forms.LoginForm"}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PRESERVE_USERNAME_CASING = True
ACCOUNT_RATE_LIMITS = {
    # Tries, right or wrong, from one address: each costs us the work of hashing a password.
    "login": "30/m/ip",
    # Failed tries of one person from one address; and of codes, by who has the password.
    "login_failed": "5/5m/key",
    # Of one person from wherever.
    "login_failed_anywhere": "100/h/key",
}
# Logging in by OpenID Connect. The address is part of who somebody is: without what may be written or not.
OIDC_SERVER_URL = env.str("OIDC_SERVER_URL", default="")
OIDC_SERVER_URL = OIDC_SERVER_URL.removesuffix("/.well-known/openid-configuration").rstrip("/")
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", default="")
OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", default="")
OIDC_LABEL = env.str("OIDC_LABEL", default="Log in with your organization")
OIDC_SCOPES = env.list("OIDC_SCOPES", default=["openid", "profile", "email"])
OIDC_GROUPS_CLAIM = env.str("OIDC_GROUPS_CLAIM", default="groups")
OIDC_ROLES = env.json("OIDC_ROLES", default={})
OIDC_DEFAULT_ROLE = env.str("OIDC_DEFAULT_ROLE", default="")
PASSWORD_LOGIN = env.bool("PASSWORD_LOGIN", default=True)
# A change of a destination, or of who is in a cohort, takes two people: see proposing.py.
FOUR_EYES = env.bool("FOUR_EYES", default=False)
SOCIALACCOUNT_ADAPTER = "cohortsite.oidc.Adapter"
MFA_ADAPTER = "cohortsite.second_factor.Adapter"
MFA_FORMS = {"activate_totp": "cohortsite.forms.ActivateTOTPForm"}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_TOTP_ISSUER = "Cohort Sync"
# Without mail nobody can be sent a link.
PASSWORD_RESET = PASSWORD_LOGIN and "console" not in EMAIL_CONFIG["EMAIL_BACKEND"]
LANGUAGE_CODE = "en-us"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True
USE_THOUSAND_SEPARATOR = True

# --- Pages --------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns of a directory that is not there yet
STORAGES = {
    "default": storage_of(FILES_URL),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Pages work straight from a clone, without a collectstatic that somebody forgets after an update.
STATIC_ROOT.mkdir(exist_ok=True)
WHITENOISE_USE_FINDERS = True
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # unfold's Alpine.js evaluates expressions, and sets inline styles; nothing more is opened.
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Cohort Sync",
    "SITE_HEADER": "Cohort Sync",
    "SITE_SUBHEADER": "Cohorts, equal everywhere",
    "SITE_SYMBOL": "sync_alt",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("cohortsite/favicon.svg"),
        }
    ],
    "STYLES": [lambda request: static("cohortsite/site.css")],
    "SCRIPTS": [
        lambda request: static("cohortsite/zone.js"),
        lambda request: static("cohortsite/site.js"),
        lambda request: static("cohortsite/drafts.js"),
        lambda request: static("cohortsite/find.js"),
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "cohortsite.dashboard.callback",
    "ACCOUNT": {"navigation": "cohortsite.navigation.account"},
    "SIDEBAR": {"show_search": True, "navigation": "cohortsite.navigation.sidebar"},
}

# --- REST ---------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["cohortsite.rest.StrictJSONParser"],
    "EXCEPTION_HANDLER": "cohortsite.rest_errors.error_response",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "cohortsite.tokens.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["cohortsite.rest.ModelPermissions"],
    "DEFAULT_PAGINATION_CLASS": "cohortsite.rest.Page",
    "DEFAULT_FILTER_BACKENDS": ["cohortsite.rest.Filters", "cohortsite.rest.Search"],
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Cohort Sync",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "SuppressionKindEnum": "people.identifiers.Kind",
        "ErasureStateEnum": "people.models.ErasureState",
        "RunStateEnum": "syncs.choices.RunState",
        "RunModeEnum": "syncs.choices.RunMode",
        "RejectionStateEnum": "syncs.choices.RejectionState",
        "RejectionKindEnum": "syncs.choices.RejectionKind",
        "VersionStateEnum": "cohorts.choices.VersionState",
        "CalculationStateEnum": "cohorts.choices.CalculationState",
        "NameKindEnum": "events.models.NameKind",
    },
    "DESCRIPTION": (
        "Cohorts, destinations, syncs and runs, for scripts and orchestrators.\n\n"
        "**Tokens.** Send `Authorization: Token cst_…`. Make a personal token in the admin, under "
        "*API tokens*, or with `manage.py create_api_token USER`; it is shown once and kept as a hash. "
        "A token may do what its user may do, within its scope: `read`, `run` or `configure`.\n\n"
        "**Errors** have one shape: "
        '`{"error": {"code": "invalid", "message": "…", "field": "schedule_cron"}}`; '
        "`field` is left out when no field is to blame. 400 is a bad request, 401 no or a bad token, 403 not "
        "allowed, 404 not there, 409 not possible now, 413 too large, 415 not JSON.\n\n"
        "**Lists** are paged by `limit` (at most 1,000) and `offset`."
    ),
    # Of the partners' calls, which are described without serializers.
    "APPEND_COMPONENTS": PARTNERS_COMPONENTS,
}

# --- Traces -------------------------------------------------------------------------------
# Empty: none. OpenTelemetry reads its other OTEL_… variables itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")
OTEL_SERVICE_NAME = env.str("OTEL_SERVICE_NAME", default="cohort-sync")
# Whether partners are sent the header traceparent.
TRACEPARENT_TO_PARTNERS = env.bool("TRACEPARENT_TO_PARTNERS", default=False)

# --- Logs ---------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "cohortsite.logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": env.str("LOG_FORMAT", default="line"),
            "filters": ["outage"],
        }
    },
    "filters": {"outage": {"()": "cohortsite.outage.OneLineAMinute"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
}
