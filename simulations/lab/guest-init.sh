#!/bin/busybox sh
# First process of a lab guest. First stage, in the initramfs: the host's root, read-only, under a tmpfs. Second stage,
# in there: one command, and the lights go out. The archive holds busybox, /modules/NN-… in loading order, /kernel (the
# modules' folder on the host), /command and /folder (what to run, and where). Output and exit code go to the second
# serial port, an ASCII record separator between them.

if [ "${1:-}" != second ]; then
  /bin/busybox mkdir -p /proc /sys /dev /lower /upper /root
  /bin/busybox --install -s /bin
  export PATH=/bin
  give_up() { echo "lab: $*"; reboot -f; }

  mount -t devtmpfs dev /dev
  mount -t proc proc /proc
  stty raw -echo </dev/ttyS1
  for module in /modules/*; do insmod "$module" || give_up "cannot load $module"; done
  mount -t virtiofs -o ro host /lower || give_up 'cannot mount the root of the host'
  mount -t tmpfs -o size=75% tmpfs /upper && mkdir /upper/changes /upper/work
  mount -t overlay -o lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work overlay /root || give_up 'no overlay'

  mount --move /dev /root/dev
  umount /proc
  mount -t proc proc /root/proc
  mount -t sysfs sys /root/sys
  # /tmp stays the host's, under the overlay: the checkout may lie there.
  mount -t tmpfs tmpfs /root/run
  mkdir -p /root/lib/modules /root/run/lab
  mount --bind "/lower/$(cat /kernel)/lib/modules" /root/lib/modules
  cp -r /bin/busybox /init /command /folder /root/run/lab
  exec switch_root /root /run/lab/busybox sh /run/lab/init second
fi

# By its path: the host need not have these tools.
busybox=/run/lab/busybox
$busybox mkdir -p /dev/pts /dev/shm
$busybox mount -t devpts devpts /dev/pts
$busybox mount -t tmpfs tmpfs /dev/shm
$busybox chmod 1777 /tmp /dev/shm
$busybox mount -t bpf bpf /sys/fs/bpf
$busybox mount -t cgroup2 cgroup /sys/fs/cgroup
$busybox ip link set lo up
$busybox hostname lab

cd "$($busybox cat /run/lab/folder)" || $busybox reboot -f
$busybox env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb AXONEME_LAB=1 \
  /bin/sh /run/lab/command </dev/null >/dev/ttyS1 2>&1
printf '\036%s\n' $? >/dev/ttyS1
$busybox sync
$busybox reboot -f
