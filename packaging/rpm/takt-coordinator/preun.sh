# Before the files go; $1 is how many versions stay. An upgrade goes on beside the running coordinator.
if [ "$1" -eq 0 ]; then
    systemctl --no-reload disable --now takt-coordinator.service >/dev/null 2>&1 || :
fi
