#!/bin/sh
# An OpenSSH server for the tests of SSH stores, where there is none: Debian's package is unpacked into
# a folder. Nothing is installed or started, and root is not needed: `sh requirements/sshd.sh <folder>`
set -eu
if [ -x "$1/sshd" ] || [ -x /usr/sbin/sshd ]; then
  exit 0
fi
mkdir -p "$1"
target=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
get() { apt-get --quiet download openssh-server libwrap0 libnsl2 libtirpc3 > log 2>&1; }
if ! get && ! { apt-get --quiet update > /dev/null 2>&1 && get; }; then
  cat log
  echo "No OpenSSH server, which the tests of SSH stores need. To mend it: sudo apt-get update, then the"
  echo "same command again; or, with root: apt-get install openssh-server"
  exit 1
fi
mkdir tree
for package in *.deb; do dpkg --extract "$package" tree; done
mkdir -p "$target/lib"
find tree -name '*.so.*' -exec cp -P {} "$target/lib/" \;
cp tree/usr/sbin/sshd "$target/sshd"
