# After the files are in place; $1 is how many versions are installed now.
systemd-sysusers takt-coordinator.conf || :
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
if [ "$1" -eq 1 ]; then
    systemctl --no-reload preset takt-coordinator.service >/dev/null 2>&1 || :
    echo 'takt-coordinator: next:'
    echo '  1. set `public_hosts` in /etc/takt/coordinator.toml to the names by which devices reach this machine'
    echo '  2. systemctl enable --now takt-coordinator'
    echo '  3. root on this machine is the operator with: takt --profile /var/lib/takt-coordinator/operator.toml'
    echo '     (that file is secret)'
fi
