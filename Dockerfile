# UNTRIED: it was written where no container can be built. docs/containers.md has the flags.
#
#   docker build -t lem .                        the processor's engine, every sink
#   docker build -t lem:cuda --target cuda .     with libtorch for NVIDIA GPUs (about 8 GB)

FROM rust:1.95-slim-trixie AS source
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .

FROM source AS build-cpu
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && install -D target/release/lem /out/lem

FROM source AS build-cuda
# libtorch comes from PyPI by name, as outside of a container.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    --mount=type=cache,target=/root/.cache/lem \
    eval "$(scripts/libtorch)" && cargo build --release --locked --features torch \
 && install -D target/release/lem /out/lem

FROM python:3.13-slim-trixie AS cuda
# CUDA's libraries come with torch; the driver's come from the host (--gpus all).
RUN pip install --no-cache-dir torch==2.11.0
COPY --from=build-cuda /out/lem /usr/local/bin/lem
COPY scripts/libtorch /usr/local/lib/lem/libtorch
COPY configs /configs
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility LEM_CACHE=/cache
VOLUME ["/cache"]
WORKDIR /work
ENTRYPOINT ["bash", "-c", "eval \"$(/usr/local/lib/lem/libtorch --of python3)\" && exec lem \"$@\"", "lem"]
CMD ["env"]

FROM debian:trixie-slim AS cpu
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-cpu /out/lem /usr/local/bin/lem
COPY configs /configs
# nvidia-smi's library, for the energy of a server on the host's GPU (--gpus all).
ENV NVIDIA_DRIVER_CAPABILITIES=utility LEM_CACHE=/cache
VOLUME ["/cache"]
WORKDIR /work
ENTRYPOINT ["lem"]
CMD ["env"]
