# Starts another keeper when one dies that has something to keep, and has one go on that was stopped. Costs next to
# nothing while it waits.
#
# In: the Python that a keeper is started with, and the keeper's arguments, STATE_DIR and RUN_DIR first. That
# command ends as soon as the keeper runs (75: another one does). Holds RUN_DIR/watcher.lock, by which the
# keeper sees that it is there; waits for RUN_DIR/keeper.lock, which a keeper holds for life. Each keeper has a
# watcher of its own. What ends keepers by their name does not end watchers.

python=$1
desired=$2/desired.json
run=$3
shift

exec 8>>"$run/watcher.lock" || exit 1
flock -n 8 || exit 0
# Dies with us, and does not hold our lock. Opened for reading: it is not made anew. In a shell of its own: we
# do not hold the keeper's lock ourselves, by which we would keep others from starting one while we are stopped.
while [ -e "$run/keeper.lock" ]; do
    (exec setpriv --pdeathsig KILL flock -w 2 7 7<"$run/keeper.lock" 8>&-)
    [ $? -eq 1 ] || break
    # Our parent is the keeper that holds the lock; if it is another by now, that one has a watcher of its own.
    if grep -qs '^State:.T' "/proc/$PPID/status" && grep -qsF "$run" "/proc/$PPID/cmdline"; then
        kill -CONT "$PPID"
    fi
done
if [ ! -e "$desired" ]; then
    rm -f "$run/watcher.lock"
    rmdir "$run" 2>/dev/null
    exit 0
fi
exec 8>&-
for delay in 1 2 4 8 15 30; do
    mkdir -p -m 700 "$run" &&
        "$python" -P -m i2kit.providers.local.keeper "$@" >>"$run/keeper.log" 2>&1
    status=$?
    [ $status -ne 0 ] && [ $status -ne 75 ] || exit 0
    sleep $delay
    [ -e "$desired" ] || exit 0
done
exit 1
