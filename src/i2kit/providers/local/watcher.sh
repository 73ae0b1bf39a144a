# Starts another keeper when one dies that has something to keep. Costs nothing while it waits.
#
# In: STATE/desired.json RUN_DIR, then the command that starts a keeper, which ends as soon as that runs
# (75: another one does). Holds RUN_DIR/watcher.lock, by which the keeper sees that it is there; waits for
# RUN_DIR/keeper.lock, which a keeper holds for life. Each keeper has a watcher of its own.

desired=$1
run=$2
shift 2

exec 8>>"$run/watcher.lock" || exit 1
flock -n 8 || exit 0
# Dies with us, and does not hold our lock. Opened for reading: it is not made anew.
[ ! -e "$run/keeper.lock" ] || setpriv --pdeathsig KILL flock 7 7<"$run/keeper.lock" 8>&-
if [ ! -e "$desired" ]; then
    rm -f "$run/watcher.lock"
    rmdir "$run" 2>/dev/null
    exit 0
fi
exec 8>&-
for delay in 1 2 4 8 15 30; do
    mkdir -p -m 700 "$run" && "$@" >>"$run/keeper.log" 2>&1
    status=$?
    [ $status -ne 0 ] && [ $status -ne 75 ] || exit 0
    sleep $delay
    [ -e "$desired" ] || exit 0
done
exit 1
