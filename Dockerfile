# One image, which is the application: docs/deployment.md says how to run it.
# The front end and the wheel are built in stages of their own; what is run has neither a compiler nor pip's caches.

FROM python:3.11.14-slim-bookworm AS front-end
WORKDIR /build
RUN python -m venv .venv
COPY requirements/node.txt requirements/
COPY scripts/with_node scripts/
COPY dashboard/package.json dashboard/package-lock.json dashboard/
RUN cd dashboard && ../scripts/with_node npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
COPY dashboard dashboard
RUN cd dashboard && ../scripts/with_node npm run build --silent

FROM python:3.11.14-slim-bookworm AS application
WORKDIR /build
RUN python -m venv /opt/build && python -m venv /opt/watchword
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /opt/build/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/build.txt
RUN /opt/watchword/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY LICENSE README.md pyproject.toml cli.py installation.py server.py settings.py token_explained.py worker.py workers.py ./
COPY auth auth
COPY doctor doctor
COPY schema schema
COPY store store
COPY web web
COPY --from=front-end /build/web/static web/static
RUN /opt/build/bin/python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir wheels .
RUN /opt/watchword/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps wheels/*.whl

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 watchword \
    && useradd --uid 10001 --gid watchword --no-create-home --home-dir /var/lib/watchword --shell /usr/sbin/nologin watchword \
    && install --directory --owner=watchword --group=watchword --mode=0700 /var/lib/watchword
COPY --from=application /opt/watchword /opt/watchword
COPY deploy/ready.py /opt/watchword/ready.py
ENV PATH=/opt/watchword/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    WATCHWORD_DATA_DIR=/var/lib/watchword \
    WATCHWORD_HOST=0.0.0.0 \
    WATCHWORD_LOG_FORMAT=json \
    WATCHWORD_PORT=8000
WORKDIR /var/lib/watchword
VOLUME /var/lib/watchword
EXPOSE 8000
# By number, so that an orchestrator that refuses root can see that it is not.
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/watchword/ready.py"]
ENTRYPOINT ["watchword"]
CMD ["serve"]
