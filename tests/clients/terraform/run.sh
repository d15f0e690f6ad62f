#!/usr/bin/env bash
# Applies main.tf at a server of its own, plans again, which has to find no change, and destroys everything.
#
#     run.sh LOCALVPC
#
# Needs `terraform` and its AWS provider, from the registry or a mirror that TF_CLI_CONFIG_FILE names.
set -euo pipefail
binary=$(realpath "$1")
folder=$(mktemp -d)
server=''
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cp "$(dirname "$0")/main.tf" "$folder"
cd "$folder"
"$binary" serve --listen 127.0.0.1:8461 --ec2 127.0.0.1:4567 >server.log 2>&1 &
server=$!
sed -i 's/127.0.0.1:4566/127.0.0.1:4567/' main.tf
for _ in $(seq 100); do
  if (exec 3<>/dev/tcp/127.0.0.1/4567) 2>/dev/null; then break; fi
  sleep 0.1
done
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1
terraform init -input=false -no-color >init.log || { cat init.log; exit 1; }
terraform apply -auto-approve -input=false -no-color | grep -E '^(Apply complete|Error)'
# 2: there would be changes.
terraform plan -input=false -no-color -detailed-exitcode >plan.log || { cat plan.log; exit 1; }
grep -E '^No changes' plan.log
terraform destroy -auto-approve -input=false -no-color | grep -E '^(Destroy complete|Error)'
