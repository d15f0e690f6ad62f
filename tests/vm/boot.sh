#!/bin/sh
# Boots a virtual machine whose network card is a unix socket of localvpc, and prints its serial console.
#
#   boot.sh FOLDER WORK NETDEV MAC PEER
#
# FOLDER keeps Debian's kernel between calls, WORK the files of this one. NETDEV is what QEMU's -netdev takes, without an id:
#
#   dgram,local.type=unix,local.path=GUEST,remote.type=unix,remote.path=SWITCH
#   stream,server=off,addr.type=unix,addr.path=SWITCH
#   stream,server=off,addr.type=fd,addr.str=3
#
# The last one uses this script's standard input, one end of a pair of sockets, as descriptor 3.
#
# PEER is a host that the guest pings. There is no KVM and no disk: busybox runs from the initial RAM disk and ends the machine.
set -eu
folder=$1 work=$2 netdev=$3 mac=$4 peer=$5
mkdir -p "$folder" "$work"
cd "$folder"
exec 9>lock
flock 9

if [ ! -e kernel/boot ]; then
  package=$(apt-cache search --names-only '^linux-image-6.1.0-[0-9]+-cloud-amd64$' | cut -d' ' -f1 | sort -V | tail -n 1)
  apt-get download -q "$package" >/dev/null 2>&1
  dpkg -x "$package"_*.deb kernel.new
  mv kernel.new kernel
fi
exec 9>&-
kernel=$folder/kernel
modules=$(echo "$kernel"/lib/modules/*)

cd "$work"
mkdir -p root/bin root/dev root/proc root/sys root/etc
cp "$(command -v busybox)" root/bin/busybox
# In the order in which they need each other.
for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci; do
  cp "$modules/kernel/drivers/$module.ko" root/
done
cp "$modules/kernel/net/core/failover.ko" "$modules/kernel/drivers/net/net_failover.ko" "$modules/kernel/drivers/net/virtio_net.ko" root/

cat >root/lease <<'LEASE'
#!/bin/busybox sh
case $1 in bound | renew)
  busybox ip address add "$ip/$mask" dev eth0
  [ -z "${mtu:-}" ] || busybox ip link set eth0 mtu "$mtu"
  busybox ip route add default via "$router"
  echo "vm: lease $ip/$mask from $serverid, router $router, mtu ${mtu:-none}" ;;
esac
LEASE
cat >root/init <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t proc proc /proc
\$b mount -t sysfs sys /sys
\$b mount -t devtmpfs dev /dev
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net; do
  \$b insmod /\$module.ko
done
\$b ip link set lo up
\$b ip link set eth0 up
\$b udhcpc -i eth0 -f -q -n -t 5 -T 2 -O mtu -s /lease
\$b ping -c 3 -w 10 $peer | \$b grep -E 'received|bytes from' | \$b sed 's/^/vm: /'
echo "vm: instance \$(\$b wget -q -O - http://169.254.169.254/latest/meta-data/local-ipv4)"
echo "vm: neighbor \$(\$b ip neigh show $peer | \$b head -n 1)"
echo "vm: done"
\$b poweroff -f
INIT
chmod +x root/init root/lease
(cd root && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >initrd.gz

exec 3<&0 </dev/null
exec timeout 120 qemu-system-x86_64 -M q35 -cpu max -m 256 -nographic -no-reboot -vga none -nodefaults -serial stdio \
  -kernel "$kernel"/boot/vmlinuz-* -initrd initrd.gz -append 'console=ttyS0 quiet panic=-1' \
  -netdev "$netdev,id=n0" \
  -device "virtio-net-pci,netdev=n0,mac=$mac,romfile="
