#!/bin/sh
# Builds the range-node image; the same as `lianbing range-image build`.
# LIANBING_RANGE_BASE names another base image, or `debootstrap` to make one without a registry (needs root).
set -eu
cd "$(dirname "$0")/../.."
exec "${PYTHON:-.venv/bin/python}" -m cyber_range.engine.drivers.docker_engine "$@"
