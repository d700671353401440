# syntax=docker/dockerfile:1
# One image for the site, the worker and commands:
#   docker build -t cohort-sync .
#   docker run … cohort-sync                                  the site, on port 8000
#   docker run … cohort-sync python manage.py sync_worker     the worker
#   docker run … cohort-sync celery -A cohortsite worker      a worker on a broker
# Its file system may be read-only: what is written goes to /data (a volume) and /tmp. See docs/deploying.md.

FROM python:3.12-slim-bookworm AS libraries
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements-machines.txt /requirements.txt
RUN python -m venv /venv && /venv/bin/pip install --require-hashes -r /requirements.txt

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent cohort-sync \
    && install -d -o cohort-sync -g cohort-sync -m 700 /data
COPY --from=libraries /venv /venv
WORKDIR /app
COPY . .
# Compiled now: a read-only file system cannot keep what Python compiles later.
RUN /venv/bin/python -m compileall -q /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 BIND=0.0.0.0:8000 VAR_DIR=/data LOG_FORMAT=json
USER 10001:10001
VOLUME /data
EXPOSE 8000
# For the site. A worker has no port: compose.yaml and the manifests leave its check out or give their own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["gunicorn", "cohortsite.wsgi"]
