#!/usr/bin/env bash
# Installs the Debian packages of the given groups (default: build test) that are missing.
# Quick and without effect when nothing is.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(build test)

packages=()
for group in "${groups[@]}"; do
  mapfile -t found < <(awk -v group="$group" '$1 == group { print $2 }' "$root/tools/packages.txt")
  if [ ${#found[@]} -eq 0 ]; then
    echo "setup: unknown package group '$group'; tools/packages.txt has build and test" >&2
    exit 2
  fi
  packages+=("${found[@]}")
done

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  echo "setup: this is not a Debian system; install the equivalents of these packages by hand:" >&2
  printf '  %s\n' "${packages[@]}" >&2
  exit 1
fi

# Unknown packages make dpkg-query fail; what it does print is what is installed.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2> /dev/null \
  | awk '$2 == "installed" { print $1 }' || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<< "$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "setup: these packages are missing, and neither root nor sudo is there to install them:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}" >&2
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y "$@" >&2
}
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
  echo "setup: apt-get failed. Is the package mirror reachable from here? Without it, install" >&2
  echo "setup: these packages by hand and try again: ${missing[*]}" >&2
  exit 1
fi
