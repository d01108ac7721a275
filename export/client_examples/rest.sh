#!/usr/bin/env bash
# Ask for predictions and maps over REST with curl: rest.sh IMAGE [MODEL]
set -euo pipefail
image=$1 model=${2:-digits} server=${SERVER:-http://127.0.0.1:8501}

# The request goes through a file: an image is longer than a command line may be.
request=$(mktemp)
trap 'rm -f "$request"' EXIT

ask() {
  printf '{"signature_name": "%s", "instances": [{"b64": "%s"}]}' "$1" "$(base64 < "$image" | tr -d '\n')" > "$request"
  curl --fail-with-body --silent --show-error --max-time 30 --data-binary "@$request" \
    "$server/v1/models/$model/labels/stable:predict"
}

ask serving_default_bytes
ask contributions_bytes
