#!/usr/bin/env bash
# tests/prove_k8s.sh: holds deploy/k8s against the published schemas of Kubernetes, strictly: an unknown key is
# an error. Not in CI, as the schemas are 108 MB. Needs python3 with venv, and kubectl (or kustomize).
# Last run: 2026-11-29, Kustomize 5.5.0, schemas of 1.30, 1.34 and 1.37, all valid.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { if command -v kustomize >/dev/null; then kustomize build "$1"; else kubectl kustomize "$1"; fi; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q kubernetes-validate==1.37.0

validate() { "$work/venv/bin/kubernetes-validate" --strict --quiet -k "$1" "$2" 2>&1; }
for folder in base overlays/example; do
  build "deploy/k8s/$folder" >"$work/objects.yaml"
  for version in 1.30 1.34 1.37; do
    validate "$version" "$work/objects.yaml" || exit 1
    echo "deploy/k8s/$folder: $(grep -c ^kind: "$work/objects.yaml") objects, valid in Kubernetes $version"
  done
done
# That the tool would have said so.
sed 's/maxUnavailable: 1$/maxUnavailabel: 1/' "$work/objects.yaml" >"$work/wrong.yaml"
if validate 1.37 "$work/wrong.yaml" >"$work/said"; then
  echo "the tool finds no fault with a key that does not exist" >&2
  exit 1
fi
grep -q maxUnavailabel "$work/said"
echo "and a misspelt key is refused"
