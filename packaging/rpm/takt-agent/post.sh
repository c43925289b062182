# After the files are in place; $1 is how many versions are installed now.
systemd-tmpfiles --create takt-agent.conf >/dev/null 2>&1 || :
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
if [ "$1" -eq 1 ]; then
    systemctl --no-reload preset takt-agent.service >/dev/null 2>&1 || :
    if [ ! -e /var/lib/takt-agent/identity/membership.json ]; then
        echo 'takt-agent: this device is not a member of a fleet yet. Next:'
        echo '  1. set `name` and `coordinator` in /etc/takt/agent.toml'
        echo '  2. takt-agent enrol --token TOKEN     (an operator gets one with `takt enrol token`)'
        echo '  3. systemctl enable --now takt-agent'
    fi
fi
