#!/bin/sh
set -e
getent group holdd >/dev/null || groupadd --system holdd
getent passwd holdd >/dev/null || useradd --system --gid holdd --no-create-home \
  --home-dir /nonexistent --shell /usr/sbin/nologin holdd
