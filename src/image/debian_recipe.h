// What makes a Debian into our image: the packages, and the shell programs that mmdebstrap runs on the tree ($1).
#pragma once

#include <string_view>

namespace doppel::image {

constexpr std::string_view debian_packages =
    "linux-image-amd64,systemd-sysv,systemd-resolved,dbus,udev,kmod,login,iproute2,iputils-ping,ca-certificates,zstd,"
    "e2fsprogs,less,procps,debian-archive-keyring";

constexpr std::string_view debian_append = "root=/dev/vda rw console=ttyS0";

// Before the kernel is installed: its initrd gets what our machines have, and no more.
constexpr std::string_view essential_hook = R"sh(set -e
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=zstd\nRESUME=none\n' >"$1/etc/initramfs-tools/conf.d/doppel"
printf '%s\n' virtio_pci virtio_blk virtio_scsi sd_mod sr_mod ext4 crc32c_generic >"$1/etc/initramfs-tools/modules"
)sh";

// At the end. DOPPEL_SOURCES, DOPPEL_KEYS, DOPPEL_APT, DOPPEL_HOSTNAME, DOPPEL_ROOT_PASSWORD come in the environment.
// An empty machine-id (not an absent one) is filled in at each boot without all that a first boot does.
constexpr std::string_view customize_hook = R"sh(set -e
: >"$1/etc/machine-id"
echo "$DOPPEL_HOSTNAME" >"$1/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost ip6-loopback\n' "$DOPPEL_HOSTNAME" >"$1/etc/hosts"
printf 'LANG=C.UTF-8\n' >"$1/etc/default/locale"
cat >"$1/etc/systemd/network/80-ethernet.network" <<'END'
[Match]
Type=ether
Kind=!*

[Network]
DHCP=yes

[Link]
RequiredForOnline=no
END
chroot "$1" systemctl --quiet enable systemd-networkd systemd-resolved
if [ -n "$DOPPEL_ROOT_PASSWORD" ]; then
  printf 'root:%s\n' "$DOPPEL_ROOT_PASSWORD" | chroot "$1" chpasswd
else
  chroot "$1" passwd --quiet --delete root
fi
if chroot "$1" systemctl --quiet is-enabled cloud-init 2>/dev/null; then
  printf 'datasource_list: [ NoCloud, None ]\n' >"$1/etc/cloud/cloud.cfg.d/90_doppel.cfg"
fi
rm -f "$1/etc/apt/sources.list" "$1/etc/apt/sources.list.d"/*
printf '%s' "$DOPPEL_SOURCES" >"$1/etc/apt/sources.list.d/debian.sources"
if [ -n "$DOPPEL_APT" ]; then printf '%s' "$DOPPEL_APT" >"$1/etc/apt/apt.conf.d/90host"; fi
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"
for key in $DOPPEL_KEYS; do
  [ -e "$1$key" ] || { mkdir -p "$1${key%/*}" && cat "$key" >"$1$key"; }
done
)sh";

// In the temporary folder ($1), with the size of the file system in bytes ($2): files.tar becomes root.img, kernel, initrd.
constexpr std::string_view pack_script = R"sh(set -e
cd "$1"
mkdir files
xattrs='--xattrs --xattrs-include=*'
# fakeroot forgets what kind of file it is that has extended attributes: without root, file capabilities are left out.
if [ -n "$FAKEROOTKEY" ]; then xattrs=; fi
tar -C files --numeric-owner $xattrs -xpf files.tar
cat files/boot/vmlinuz-* >kernel
cat files/boot/initrd.img-* >initrd
mke2fs -q -t ext4 -L root -E lazy_itable_init=0,lazy_journal_init=0,assume_storage_prezeroed=1,root_owner=0:0 \
  -d files root.img "$(($2 / 1024))k"
chmod -R u+rwX files
rm -rf files files.tar
)sh";

}  // namespace doppel::image
