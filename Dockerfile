# Name the base by digest (--build-arg PYTHON=python@sha256:...) to build the same image again.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/run.txt requirements/build.txt requirements/
# The environment that runs has no pip; the one that builds the wheel is left behind with this stage.
RUN python3 -m venv --without-pip /opt/netflight \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip --python /opt/netflight/bin/python3 install \
        --require-hashes --only-binary :all: -r requirements/run.txt \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY runtime runtime
COPY producers producers
COPY streams streams
COPY sinks sinks
COPY rules rules
COPY samples samples
COPY cockpit cockpit
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/netflight/bin/python3 install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON} AS run
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="netflight" \
      org.opencontainers.image.description="A network flight recorder on Apache Kafka" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/netflight/netflight" \
      org.opencontainers.image.documentation="https://github.com/netflight/netflight/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# NET_RAW is all that dumpcap needs, for promiscuous mode too, and dumpcap alone gets it: Python and tshark, which read
# what strangers send, have no capability. No other program of the image can raise its rights: the setuid bits go.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends libcap2-bin tshark \
    && groupadd --gid 10001 netflight \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/netflight --shell /usr/sbin/nologin netflight \
    && install --directory --owner 10001 --group 10001 --mode 0750 /var/lib/netflight \
    && chgrp netflight /usr/bin/dumpcap \
    && chmod 0750 /usr/bin/dumpcap \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && setcap cap_net_raw=ep /usr/bin/dumpcap \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/*.log /var/log/apt
COPY --from=build /opt/netflight /opt/netflight
ENV PATH=/opt/netflight/bin:/usr/local/bin:/usr/bin:/bin \
    NETFLIGHT_STATE=/var/lib/netflight \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/netflight
# Kubernetes probes the parts by its own means (helm/netflight).
HEALTHCHECK NONE
ENTRYPOINT ["netflight"]
