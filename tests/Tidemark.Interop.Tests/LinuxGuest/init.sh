#!/bin/busybox sh
# The whole user space of the tests' Linux guest. It mounts the ext4 of its disk and writes files for ever, each made
# durable ("sync FILE" is fsync) before the next; what it says on its console is what the test judges a restored disk by:
#
#   BEGIN N     file N is about to be made
#   SYNCED N    file N and its folder were fsynced; so were all before it
#   LOGGED N    line N of the log was fsynced
#   FAILED …    something went wrong, a write's error above all
#
# File N has N % 40 + 1 lines. It is deleted when file N + 120 is durable.
bb=/bin/busybox
fail() { echo "FAILED $*"; $bb poweroff -f; }
$bb mkdir -p /proc /sys /mnt
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $bb insmod "$module" || echo "module $module was not inserted"; done
$bb mount -t ext4 -o errors=remount-ro /dev/vda /mnt || fail mount
echo READY
n=0
while :; do
    n=$((n + 1))
    echo "BEGIN $n"
    folder=/mnt/d$((n % 7))
    file=$folder/f$n
    [ -d $folder ] || $bb mkdir $folder || fail mkdir $n
    lines=$((n % 40 + 1))
    i=0
    while [ $i -lt $lines ]; do
        echo "file $n line $i of $lines ................................................................"
        i=$((i + 1))
    done > $file || fail write $n
    $bb sync $file $folder || fail fsync $n
    echo "SYNCED $n"
    echo $n >> /mnt/log || fail append $n
    $bb sync /mnt/log || fail fsync log $n
    echo "LOGGED $n"
    old=$((n - 120))
    [ $old -le 0 ] || $bb rm /mnt/d$((old % 7))/f$old || fail rm $old
    # And some that nobody waits for, over a file that is there.
    $bb dd if=/dev/urandom of=/mnt/churn bs=4k count=8 seek=$((n * 8 % 512)) conv=notrunc 2> /dev/null || fail churn $n
done
