#!/bin/sh
# Process 1 of the build's own pid namespace. Standard input is the builder's life: when it ends, however the builder
# ended, this process ends, and with it the kernel ends everything in the namespace and takes its mounts away.
exec 3<&0
trap 'exit 130' TERM
{ cat <&3 >/dev/null; kill -TERM 1; } &
"$@" 3<&- </dev/null &
wait $!
