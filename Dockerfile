# syntax=docker/dockerfile:1

FROM python:3.13.9-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /opt/collector
# The locked dependencies first: they change less often than the code.
COPY requirements/build.txt requirements/runtime.txt requirements/nats.txt requirements/
RUN /opt/collector/bin/pip install --require-hashes \
        -r requirements/build.txt -r requirements/runtime.txt -r requirements/nats.txt
COPY pyproject.toml README.md LICENSE ./
COPY collector/ collector/
RUN /opt/collector/bin/pip install --no-deps --no-build-isolation --no-index . \
    && /opt/collector/bin/python -m compileall -q /opt/collector/lib \
    && /opt/collector/bin/pip uninstall -y pip setuptools

FROM python:3.13.9-slim-trixie
# tini passes signals on and collects ended processes; what Debian mends of it is wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 collector \
    && useradd --system --uid 10001 --gid collector --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin collector \
    && install -d -o collector -g collector -m 0700 /var/lib/collector
COPY --from=build /opt/collector /opt/collector
ENV PATH=/opt/collector/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    COLLECTOR_LISTEN=0.0.0.0:16080 \
    COLLECTOR_METRICS_LISTEN=0.0.0.0:16081 \
    COLLECTOR_STATE_DIR=/var/lib/collector \
    COLLECTOR_LOG_FORMAT=json
USER 10001:10001
VOLUME /var/lib/collector
# 16081 (metrics, health) is for the inside alone.
EXPOSE 16080 16081
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:16081/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["collector", "serve"]
