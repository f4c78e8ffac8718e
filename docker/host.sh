#!/usr/bin/env bash
# Makes this container one host of a job: takes the job's ssh key, makes it where there is none, and serves ssh until stopped.
#
#   GMETA_SSH   folder of the job's key, the same for every host (default /ssh)
#   SSH_PORT    port to serve (default 22); horovodrun -p takes the same
set -euo pipefail
keys=${GMETA_SSH:-/ssh}
port=${SSH_PORT:-22}
umask 077

# Hosts start at the same time; the first to lock makes the key. A folder mounted read-only brings one.
if [ -w "$keys" ]; then
  (
    flock 9
    [ -e "$keys/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C gmeta_tf -f "$keys/id_ed25519"
  ) 9>"$keys/lock"
fi
if ! [ -r "$keys/id_ed25519" ] || ! [ -r "$keys/id_ed25519.pub" ]; then
  echo "error: GMETA_SSH must hold id_ed25519 and id_ed25519.pub. Received: $keys. Mount a folder that has them, or a writable one." >&2
  exit 1
fi

# Every host may reach every other. Containers come and go behind the same names, so host keys are not remembered.
mkdir -p ~/.ssh
install -m 600 "$keys/id_ed25519" ~/.ssh/id_ed25519
install -m 600 "$keys/id_ed25519.pub" ~/.ssh/authorized_keys
printf '%s\n' 'UserKnownHostsFile /dev/null' 'LogLevel ERROR' >~/.ssh/config

ssh-keygen -A >/dev/null
mkdir -p /run/sshd
# A job opens one connection a rank at once; the default limit drops some beyond ten.
exec /usr/sbin/sshd -D -e -p "$port" -o MaxStartups=256 -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password -o UsePAM=no
