"""One settings file: every variable is read in the first lines, and the defaults run the demo."""

from __future__ import annotations

import sys
from pathlib import Path

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from lms.project.secret import secret_from

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = environ.Env()

# --- what the environment may say ---------------------------------------------------------------------------------
# Beside the sources in a checkout; an installed copy must not write among its own files.
CHECKOUT = (BASE_DIR / "pyproject.toml").is_file()
HOME_STATE = BASE_DIR / "var" if CHECKOUT else Path.home() / ".local" / "state" / "lianbing"
STATE_DIR = Path(env.str("LIANBING_STATE", default=str(HOME_STATE)))
DEBUG = env.bool("LIANBING_DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or secret_from(STATE_DIR / "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
# Where WebSockets answer, one for each name people reach the pages by; none = same origin (nginx joins them).
SOCKETS_URL = env.list("SOCKETS_URL", default=[])
DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{STATE_DIR / 'lianbing.sqlite3'}")
REDIS_URL = env.str("REDIS_URL", default="")
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=REDIS_URL or "filesystem://")
RANGE_SOCKET = env.str("LIANBING_RANGE_SOCKET", default=str(STATE_DIR / "range" / "host.sock"))
RANGE_HOST_NAME = env.str("LIANBING_RANGE_HOST", default="local")
# How many ranges an organisation may have at once where the administrator has set no quota, and how long one may live.
RANGES_PER_ORGANISATION = env.int("LIANBING_RANGES_PER_ORGANISATION", default=20)
PRACTICE_RANGES_PER_ORGANISATION = env.int("LIANBING_PRACTICE_RANGES_PER_ORGANISATION", default=4)
PRACTICE_HOURS = env.int("LIANBING_PRACTICE_HOURS", default=12)
EMAIL_URL = env.str("EMAIL_URL", default="consolemail://")
HTTPS_ONLY = env.bool("LIANBING_HTTPS", default=PUBLIC_URL.startswith("https://"))
TIME_ZONE = env.str("TIME_ZONE", default="Asia/Shanghai")
TRUSTED_PROXIES = env.int("LIANBING_TRUSTED_PROXIES", default=0)
# -------------------------------------------------------------------------------------------------------------------

TESTING = "pytest" in sys.modules

INSTALLED_APPS = [
    "daphne",
    "certification",
    "drills",
    "courses",
    "cyber_range",
    "lms.maturity",
    "lms.jobs",
    "lms.accounts",
    "lms.design",
    "lms.project",
    "wagtail.contrib.settings",
    "wagtail.contrib.forms",
    "wagtail.contrib.redirects",
    "wagtail.embeds",
    "wagtail.sites",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.weixin",
    "allauth.socialaccount.providers.dingtalk",
    "allauth.socialaccount.providers.feishu",
    "allauth.mfa",
    "axes",
    "csp",
    "import_export",
    "django_htmx",
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "lms.project.middleware.health",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "lms.project.middleware.ContentSecurityPolicy",
    "allauth.account.middleware.AccountMiddleware",
    "lms.accounts.middleware.consent",
    "django_htmx.middleware.HtmxMiddleware",
    "wagtail.contrib.redirects.middleware.RedirectMiddleware",
    "axes.middleware.AxesMiddleware",
]
# What stays open to a signed-in person who has withdrawn the consent: signing out, languages, and what anybody may read.
OPEN_WITHOUT_CONSENT = (
    "/accounts/",
    "/language/",
    "/jsi18n/",
    "/static/",
    "/certification/verify/",
    "/certification/v/",
    "/certification/status/",
)

ROOT_URLCONF = "lms.project.urls"
WSGI_APPLICATION = "lms.project.wsgi.application"
ASGI_APPLICATION = "lms.project.asgi.application"
WEBSOCKET_ROUTES = ["drills.routing.websocket_urlpatterns"]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "lms.accounts.context.navigation",
            ],
            "builtins": ["lms.design.templatetags.design", "django.templatetags.i18n", "django.templatetags.static"],
        },
    }
]

# --- data ----------------------------------------------------------------------------------------------------------
DATABASES = {"default": env.db_url_config(DATABASE_URL)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
        " PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATE_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)

if REDIS_URL:
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL}}
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }
else:
    # Axes and rate limits must be the same for every page process, so the cache is the database's.
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "lianbing_cache"}}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if TESTING:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- slow verbs ----------------------------------------------------------------------------------------------------
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = "lianbing"
if CELERY_BROKER_URL.startswith("filesystem://"):
    QUEUE_DIR = STATE_DIR / "queue"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(QUEUE_DIR),
        "data_folder_out": str(QUEUE_DIR),
        "control_folder": str(QUEUE_DIR / "control"),
        "store_processed": False,
        "polling_interval": 0.2,
    }
    for folder in (QUEUE_DIR, QUEUE_DIR / "control"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

# --- people --------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "lms.accounts.adapter.AccountAdapter"
ACCOUNT_USER_DISPLAY = "lms.accounts.context.display_name"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "account/locked_out.html"
AXES_ENABLED = not TESTING
# One answer to "where does this request come from" for lock-outs, sign-in limits and our own log.
AXES_CLIENT_IP_CALLABLE = "lms.accounts.audit.client_ip"
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES

# --- words ---------------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", _("简体中文")), ("en", "English")]
WAGTAIL_CONTENT_LANGUAGES = [("zh-hans", "简体中文")]
USE_I18N = USE_TZ = True
FORMAT_MODULE_PATH = ["lms.project.formats"]

# --- files ---------------------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
MEDIA_URL = "/media/"  # never served by path: views check permission and send attachments
MEDIA_ROOT = STATE_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG or TESTING
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
DATA_UPLOAD_MAX_NUMBER_FIELDS = 4000
WAGTAILDOCS_SERVE_METHOD = "serve_view"

# --- Wagtail -------------------------------------------------------------------------------------------------------
WAGTAIL_SITE_NAME = "练兵"
WAGTAILADMIN_BASE_URL = PUBLIC_URL
WAGTAIL_I18N_ENABLED = False
# One door for everybody: Wagtail's own sign-in and password pages know neither the second step nor our limits.
WAGTAIL_FRONTEND_LOGIN_URL = WAGTAILADMIN_LOGIN_URL = "/accounts/login/"
WAGTAIL_PASSWORD_RESET_ENABLED = WAGTAIL_PASSWORD_MANAGEMENT_ENABLED = False
WAGTAIL_ENABLE_UPDATE_CHECK = False
WAGTAIL_ENABLE_WHATS_NEW_BANNER = False
WAGTAIL_GRAVATAR_PROVIDER_URL = None
WAGTAILSEARCH_BACKENDS = MODELSEARCH_BACKENDS = {"default": {"BACKEND": "modelsearch.backends.database"}}
WAGTAIL_WORKFLOW_ENABLED = True
# Not every name of the host's zone files is one that browsers know ("localtime" is not).
WAGTAIL_USER_TIME_ZONES = ["Asia/Shanghai", "Asia/Urumqi", "Asia/Hong_Kong", "Asia/Macau", "Asia/Taipei", "UTC"]

# --- safety --------------------------------------------------------------------------------------------------------
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_SSL_REDIRECT = False  # the front server's job: health checks come in plain
SECURE_HSTS_SECONDS = 31536000 if HTTPS_ONLY else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "SAMEORIGIN"
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF, *SOCKETS_URL],
        "media-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}

# --- words to the operator -----------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"no_secrets": {"()": "lms.project.logs.RedactSecrets"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["no_secrets"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "wagtail": {"level": "WARNING"},
        "kombu": {"level": "ERROR"},
        "django_tasks": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        "fontTools": {"level": "WARNING"},
    },
}
globals().update(env.email_url_config(EMAIL_URL))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="lianbing@localhost")

if not TESTING and not DEBUG and "*" in ALLOWED_HOSTS and HTTPS_ONLY:
    raise ImproperlyConfigured("ALLOWED_HOSTS must name the public host names, not *")
SILENCED_SYSTEM_CHECKS = ["wagtailadmin.W003"]  # base URL is set by PUBLIC_URL
TEST_RUNNER = "django.test.runner.DiscoverRunner"
