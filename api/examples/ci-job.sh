#!/bin/sh
# A CI job: plays a scenario on a server that runs already, leaves its report for the CI system, and fails as the run does.
#
# usage: ci-job.sh SCENARIO FOLDER
# LOCALVPC_SOCKET is the server's unix socket. The server was started with --allow-exec. Needs curl and jq.
set -eu
scenario=$1 folder=$2
api() { curl --silent --show-error --fail-with-body --unix-socket "$LOCALVPC_SOCKET" "$@"; }
base=http://localhost/v1

mkdir -p "$folder"
# A refusal is a problem document. It has every mistake of the file, with its line.
answer=$(jq -n --rawfile text "$scenario" '{text: $text, seed: 1}' | api --json @- "$base/runs") || {
  printf '%s\n' "$answer" | jq -r --arg file "$scenario" \
    '.detail, (.mistakes[]? | "\($file):\(.line):\(.column): \(.message); \(.help // "")")' >&2
  exit 1
}
run=$(printf '%s\n' "$answer" | jq -r .id)

# The stream ends when the run has ended. A run survives it: a client that comes back goes on where it was.
api --no-buffer "$base/runs/$run/events" | sed -n 's/^data: //p' |
  jq -r 'select(.event == "step_finished") | .step | "\(.number). \(.outcome): \(.say // .did)"'

for file in report.json report.xml report.html; do
  api --output "$folder/$file" "$base/runs/$run/$file"
done
# What crossed the switch, and what crossed the interface of each instance.
api --output "$folder/run.pcapng" "$base/runs/$run/capture"
mkdir -p "$folder/captures"
for instance in $(api "$base/runs/$run/captures" | jq -r '.captures[].instance'); do
  api --output "$folder/captures/$instance.pcapng" "$base/runs/$run/captures/$instance"
done
api --output "$folder/logs.json" "$base/runs/$run/logs"

jq -r '.probes[]? | "\(.name): \(.outage.longest / 1000000) ms without an answer, \(.outage.lost) of \(.outage.sent) lost"' \
  "$folder/report.json"
[ "$(jq -r .outcome "$folder/report.json")" = passed ]
