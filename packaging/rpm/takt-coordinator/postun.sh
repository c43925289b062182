# After the files of the old version are gone; $1 is how many versions stay.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart takt-coordinator.service >/dev/null 2>&1 || :
    fi
fi
