#!/bin/sh
# Boots a Debian 12 in a container of systemd and runs the node there by its units, hardened as they are and with a credential.
# As root, on Debian 12, after deploy/try_image.sh has built the image bmd-node, whose Python and node are taken:
#   apt-get install systemd-container dcmtk
#   deploy/try_systemd.sh FOLDER_WITH_A_CT
# Sends the CT, runs the doctor, kills the worker, stops the node; tells what the units said. The ports are 31112 and 38043, so
# that a node of this machine is not disturbed.
set -eu
ct=$(realpath "$1")
folder=${TRY_FOLDER:-/var/tmp/bmd-node-images}
machine=$folder/machine
where="--root $folder/images --runroot $folder/run --storage-driver overlay"
cd "$(dirname "$0")/.."

rm -rf "$machine"
debootstrap --variant=minbase --include=systemd,dbus,python3,procps bookworm "$machine" http://deb.debian.org/debian >/dev/null
# shellcheck disable=SC2086 # several words
container=$(buildah $where from --pull=never localhost/bmd-node)
# shellcheck disable=SC2086
cp -a "$(buildah $where mount "$container")/opt/bmd-node" "$machine/opt/"
# shellcheck disable=SC2086
buildah $where rm "$container" >/dev/null
# the image has its programs one folder higher than a checkout
ln -s /opt/bmd-node "$machine/opt/bmd-node/.venv"
cp -a deploy docs "$machine/opt/bmd-node/"

etc=$machine/etc/bmd-node
install -d -m 755 "$etc"
install -d -m 700 "$etc/credentials"
printf %s "of-this-trial-alone" >"$etc/credentials/orthanc-password"
# an Orthanc that is not there: the part that asks it must read its password and live on
cat >"$etc/bmd-node.toml" <<'SETTINGS'
state_dir = "/var/lib/bmd-node"
[listener]
port = 31112
min_free_disk_mb = 100
[web]
port = 38043
[orthanc]
url = "http://127.0.0.1:39999"
user = "node"
password_file = "bmd-node_orthanc-password"
SETTINGS
install -m 644 deploy/systemd/bmd-node.service deploy/systemd/bmd-node-doctor.service "$machine/etc/systemd/system/"
cat >"$machine/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=bmd-node.service
[Service]
ExecStart=/root/try.sh
[Install]
WantedBy=multi-user.target
UNIT
cat >"$machine/root/try.sh" <<'TRY'
#!/bin/sh
exec >/root/told 2>&1
until /opt/bmd-node/bin/bmd-node health listener web --config /etc/bmd-node/bmd-node.toml >/dev/null 2>&1; do sleep 1; done
touch /root/ready
until [ -e /root/sent ]; do sleep 1; done
until journalctl -o cat -u bmd-node | grep -q ': measured$'; do sleep 1; done
systemctl start bmd-node-doctor
journalctl --no-pager -o cat -u bmd-node-doctor
kill -9 "$(pgrep -f 'node.cli worker' | head -1)"
sleep 8
systemctl stop bmd-node
journalctl --no-pager -o cat -u bmd-node
systemctl poweroff
TRY
chmod 755 "$machine/root/try.sh"
chroot "$machine" systemctl enable --quiet bmd-node try

timeout 300 systemd-nspawn --directory "$machine" --register=no --keep-unit --boot >"$folder/boot.log" 2>&1 &
until [ -e "$machine/root/ready" ]; do sleep 1; kill -0 $! || { cat "$folder/boot.log"; exit 1; }; done
storescu -aec BMDNODE 127.0.0.1 31112 --scan-directories "$ct"
touch "$machine/root/sent"
wait $! || true
cat "$machine/root/told"
rm -rf "$machine"
