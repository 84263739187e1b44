#!/usr/bin/env bash
# Puts Debian's arm64 headers and libraries of the project's build packages below build/arm64_sysroot, for
# the preset `arm64`. The system's own packages and architectures stay as they are. Quick when done.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
sysroot=$PWD/build/arm64_sysroot
packages=(libc6-dev libstdc++-12-dev)
mapfile -t -O 2 packages < <(awk '$1 == "build" && $2 ~ /^(lib|nlohmann|prometheus)/ { print $2 }' \
  tools/packages.txt)
stamp=$sysroot/packages
[ "$(cat "$stamp" 2> /dev/null)" != "${packages[*]}" ] || exit 0

rm -rf "$sysroot"
state=$sysroot/apt
mkdir -p "$state/lists/partial" "$state/archives/partial" "$sysroot/usr/lib" "$sysroot/usr/include"
: > "$state/status"  # Nothing is installed: everything needed is fetched.
ln -s usr/lib "$sysroot/lib"
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$state"
  -o Dir::State::status="$state/status" -o Dir::Cache::archives="$state/archives"
  -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root
  -o Debug::NoLocking=1)
echo "arm64_sysroot: fetching ${#packages[@]} packages and what they need" >&2
if ! { apt-get "${options[@]}" update && apt-get "${options[@]}" -y --no-install-recommends \
  --download-only install "${packages[@]}" > /dev/null; }; then
  echo 'arm64_sysroot: cannot fetch arm64 packages. Is the package mirror reachable from here?' >&2
  exit 1
fi
for package in "$state"/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" \
    | tar -x -C "$sysroot" --keep-directory-symlink --exclude './usr/share/doc' --exclude './usr/share/man'
done
rm -rf "$state"
# Links to absolute paths would lead out of it.
find "$sysroot" -type l -lname '/*' -printf '%p %l\n' | while read -r link target; do
  ln -snfr "$sysroot$target" "$link"
done
echo "${packages[*]}" > "$stamp"
echo "arm64_sysroot: $(du -sh "$sysroot" | cut -f 1) in build/arm64_sysroot" >&2
