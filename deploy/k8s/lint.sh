#!/usr/bin/env bash
# Holds everything under deploy/ against checkov's policies; exceptions are explained in
# policy.yaml and in the objects themselves. checkov has an environment of its own.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
home=../../.venv-policy

if ! command -v kubectl >/dev/null; then
  echo "no kubectl: the manifests are not checked against policies" >&2
  exit 0
fi
if ! cmp --silent requirements.txt "$home/requirements.txt"; then
  echo "setting up checkov (a minute or two) …"
  "$python" -m venv --clear "$home"
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt "$home/"
fi
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
for folder in overlays/* cluster/*; do
  kubectl kustomize "$folder" >"$rendered/${folder/\//-}.yaml"
done
"$home/bin/checkov" --config-file policy.yaml --skip-download -d "$rendered" -d ../eks
if command -v terraform >/dev/null; then
  terraform -chdir=../eks fmt -check -diff
fi
