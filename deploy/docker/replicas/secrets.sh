#!/bin/sh
# Writes random secrets for compose.yaml into a folder, by default `secrets` beside it. Files that exist are kept.
set -eu
folder=${1:-$(dirname "$0")/secrets}
# Only you can enter the folder. The users of the containers, which see single files of it, can read those.
mkdir -p "$folder"
chmod 0700 "$folder"
umask 022

random() {
    od -An -v -N "$1" -t x1 /dev/urandom | tr -d ' \n'
}

write() {
    [ -e "$folder/$1" ] || printf '%s\n' "$2" > "$folder/$1"
}

write postgres_password "$(random 24)"
write store_url "postgresql://berth:$(cat "$folder/postgres_password")@postgres:5432/berth"
write valkey_password "$(random 24)"
write limits_url "valkey://:$(cat "$folder/valkey_password")@valkey:6379/0"
write s3_secret_key "$(random 24)"
write s3_credentials "[default]
aws_access_key_id = berth
aws_secret_access_key = $(cat "$folder/s3_secret_key")"
write direct_key_secret "$(random 32)"
write team_a "sk-bf-$(random 24)"
