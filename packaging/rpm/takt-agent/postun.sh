# After the files of the old version are gone; $1 is how many versions stay.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    # The agent that upgrades itself has called rpm: it must live to see the end, and starts itself anew afterwards.
    if [ "$1" -ge 1 ] && [ "${TAKT_SELF_UPGRADE:-}" != 1 ]; then
        systemctl try-restart takt-agent.service >/dev/null 2>&1 || :
    fi
fi
