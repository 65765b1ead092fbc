# docker build -t safety-gateway . && docker run -p 8000:8000 -v gateway-data:/data safety-gateway
FROM python:3.12-slim-bookworm AS build
WORKDIR /app
COPY requirements/runtime.lock requirements/postgres.lock requirements/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps \
    -r requirements/runtime.lock -r requirements/postgres.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY backends backends
COPY policies policies
COPY keywords keywords
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 gateway && mkdir /data && chown gateway /data
COPY --from=build /venv /venv
USER gateway
# Loopback inside a container is reached by nobody; whether the admin port can be reached from outside is decided by
# whoever runs it: `-p 127.0.0.1:8900:8900` for this machine alone, nothing for nobody. (`admin_host` in a YAML file is below this.)
ENV PATH=/venv/bin:$PATH GATEWAY_DATA_DIR=/data GATEWAY_ADMIN_HOST=0.0.0.0
VOLUME /data
EXPOSE 8000 8900
STOPSIGNAL SIGTERM
# A port that is set in the YAML file is not seen here: set GATEWAY_PORT.
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:%s/healthz' % (os.environ.get('GATEWAY_PORT') or 8000), timeout=3)"]
CMD ["gateway", "serve"]
