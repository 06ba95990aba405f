#!/bin/sh
# Builds an image and runs it without Docker and without a registry: with buildah, podman and runc, on a base that debootstrap
# makes. As root, on Debian 12:
#   apt-get install buildah podman runc debootstrap
#   deploy/try_image.sh deploy/Dockerfile bmd-node doctor
# The image is built from the Dockerfile, its size is told, and the rest is what runs in it: without rights, with a root that
# cannot be written, as compose.yaml has it. In the environment:
#   TRY_FOLDER   images and base lie there (default /var/tmp/bmd-node-images, some 6 GB); remove it afterwards
#   TRY_BUILD    more options for buildah: --volume for a mirror of wheels or a certificate, --build-arg
#   TRY_RUN      more options for podman: --detach, --volume, --env
set -eu
dockerfile=$1
name=$2
shift 2
folder=${TRY_FOLDER:-/var/tmp/bmd-node-images}
base=docker.io/library/debian:12-slim
mkdir -p "$folder"
cd "$(dirname "$0")/.."
where="--root $folder/images --runroot $folder/run --storage-driver overlay"
printf '{"default": [{"type": "insecureAcceptAnything"}]}\n' >"$folder/policy.json"

# shellcheck disable=SC2086 # these are several words each
if ! buildah $where inspect --type image "$base" >/dev/null 2>&1; then
    debootstrap --variant=minbase bookworm "$folder/debian" http://deb.debian.org/debian
    # what the slim image of Debian goes without, too
    rm -rf "$folder"/debian/var/cache/apt/archives/*.deb "$folder"/debian/var/cache/apt/*.bin \
        "$folder"/debian/var/lib/apt/lists/* "$folder"/debian/usr/share/doc/* "$folder"/debian/usr/share/man/* \
        "$folder"/debian/usr/share/info/* "$folder"/debian/usr/share/locale/*
    container=$(buildah $where from scratch)
    buildah $where add --quiet "$container" "$folder/debian" /
    buildah $where commit --quiet --signature-policy "$folder/policy.json" "$container" "$base"
    buildah $where rm "$container"
fi

ignored=$dockerfile.dockerignore
[ -e "$ignored" ] || ignored=/dev/null
# shellcheck disable=SC2086
buildah $where bud --signature-policy "$folder/policy.json" --isolation chroot --network host --pull=never --layers \
    --format docker --ignorefile "$ignored" ${TRY_BUILD:-} --file "$dockerfile" --tag "$name" .
# shellcheck disable=SC2086
buildah $where images "localhost/$name"
[ $# -gt 0 ] || exit 0
# crun, which podman prefers, wants another kind of cgroups than many machines have; the checks of health need systemd
# shellcheck disable=SC2086
exec podman $where --runtime runc --events-backend none --cgroup-manager cgroupfs run --rm --pull=never --network host \
    --no-healthcheck --read-only --tmpfs /tmp --cap-drop=ALL --security-opt=no-new-privileges \
    --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 ${TRY_RUN:-} "localhost/$name" "$@"
