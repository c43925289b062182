# Before the files go; $1 is how many versions stay. An upgrade goes on beside the running agent.
if [ "$1" -eq 0 ] && [ "${TAKT_SELF_UPGRADE:-}" != 1 ]; then
    systemctl --no-reload disable --now takt-agent.service >/dev/null 2>&1 || :
fi
