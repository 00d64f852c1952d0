FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
# Wheels of Lab ID and of all that it depends on; compilers and caches stay behind in this stage.
RUN pip wheel --no-cache-dir --disable-pip-version-check --wheel-dir /wheels .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Lab ID" \
      org.opencontainers.image.description="OAuth 2.0 / OpenID Connect identity provider for research labs" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --disable-pip-version-check --no-index --find-links=/wheels lab-id \
    && useradd --system --uid 10001 --home-dir /srv/lab-id --shell /usr/sbin/nologin lab-id \
    && install --directory --owner=10001 --group=lab-id --mode=0700 /srv/lab-id /srv/lab-id/keys /srv/lab-id/var
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The defaults of the settings are relative to this folder: keys/, var/idp.db and idp.toml.
WORKDIR /srv/lab-id
USER 10001
VOLUME ["/srv/lab-id/keys", "/srv/lab-id/var"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["idp"]
CMD ["serve", "--host", "0.0.0.0"]
