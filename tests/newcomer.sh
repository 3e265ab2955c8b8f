#!/usr/bin/env bash
# Runs a command as somebody new to the project would: what is committed, in a fresh clone, without Java and with an empty home.
# tests/newcomer.sh make run
set -euo pipefail
[ $# -gt 0 ] || { echo "which command? as in: tests/newcomer.sh make run" >&2; exit 2; }

folder=$(mktemp -d -t newcomer-XXXXXX)
git clone --quiet "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)" "$folder/project"
mkdir "$folder/home" "$folder/programs"
# All programs of the path but Java's, and but uv, which would bring a Python and a cache of its own.
for place in ${PATH//:/ }; do
  for program in "$place"/*; do
    name=$(basename "$program")
    case "$name" in java | javac | jar | jcmd | jdeps | jlink | jps | jshell | jstack | keytool | uv | uvx) continue ;; esac
    [ ! -x "$program" ] || [ -e "$folder/programs/$name" ] || ln -s "$program" "$folder/programs/$name"
  done
done

cd "$folder/project"
before=$SECONDS
status=0
env -u JAVA_HOME -u JDK_HOME -u SPARK_HOME -u PYSPARK_PYTHON -u PYTHONPATH -u VIRTUAL_ENV \
  PATH="$folder/programs" HOME="$folder/home" "$@" </dev/null >"$folder/output.log" 2>&1 || status=$?
tail -n 40 "$folder/output.log"
echo "newcomer: $* ended with $status after $((SECONDS - before)) s; all of it is in $folder"
exit "$status"
