"""A Django project in one file, with what docs/guides/django.md adds to it lying in the working folder."""

import os
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse

usual = {
    "os": os,
    "SECRET_KEY": "a-secret-of-the-tests-of-relying-parties",
    "ALLOWED_HOSTS": ["localhost"],
    "ROOT_URLCONF": "__main__",
    "USE_TZ": True,
    "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "INSTALLED_APPS": [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
    # The guide leaves a page with a button between, which is the project's to draw.
    "SOCIALACCOUNT_LOGIN_ON_GET": True,
}
exec(Path("settings.py").read_text(), usual)
settings.configure(**{name: value for name, value in usual.items() if name.isupper()})
django.setup()

from django.urls import include, path  # noqa: E402  (works on settings that are configured)


def home(request: HttpRequest) -> JsonResponse:
    user = request.user
    groups = sorted(group.name for group in user.groups.all())
    return JsonResponse({"signed_in": user.is_authenticated, "groups": groups, "is_staff": user.is_staff})


def refused(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Refused; signed in: {request.user.is_authenticated}", status=403)


urlpatterns = [path("", home), path("refused/", refused)]
exec(Path("urls.py").read_text(), {"urlpatterns": urlpatterns, "path": path, "include": include})


class Quiet(WSGIRequestHandler):
    """Answers HTTP without writing about it."""

    def log_message(self, *_: object) -> None:
        pass


# The database lives in the memory of the one thread.
call_command("migrate", verbosity=0)
server = make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), handler_class=Quiet)
server.serve_forever()
