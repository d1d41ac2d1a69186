"""What is in the ramdisk: packages, what is left out of them, and what no package brings."""

# What the agent runs, and what somebody needs who signs in for a rescue.
PACKAGES = (
    "linux-image-amd64",
    *(
        "bash",
        "busybox-static",
        "coreutils",
        "dash",
        "diffutils",
        "findutils",
        "grep",
        "gzip",
        "mawk",
        "sed",
        "tar",
    ),
    *(
        "iproute2",
        "iputils-ping",
        "kmod",
        "less",
        "mount",
        "procps",
        "udev",
        "util-linux",
        "vim-tiny",
        "xz-utils",
    ),
    *("ca-certificates", "curl", "openssh-server", "rsync", "zstd"),
    *("libpython3-stdlib", "python3-minimal"),
    *("dmidecode", "ethtool", "ipmitool", "pciutils"),
    *("hdparm", "nvme-cli", "sg3-utils", "smartmontools"),
    *("dosfstools", "e2fsprogs", "fdisk", "gdisk", "lvm2", "mdadm", "parted", "xfsprogs"),
)

# Folders, and files, that a machine without a user, a desktop or a package manager has no use for.
UNWANTED = (
    *("boot/", "dev/", "media/", "mnt/", "proc/", "run/", "sys/", "tmp/"),
    *("etc/apt/", "etc/bash_completion.d/", "etc/cron", "etc/dpkg/", "etc/init.d/", "etc/initramfs-tools/"),
    *(
        "etc/kernel/",
        "etc/logcheck/",
        "etc/logrotate.d/",
        "etc/perl/",
        "etc/rc",
        "etc/runit/",
        "etc/sv/",
        "etc/ufw/",
    ),
    *("lib/systemd/system/", "lib/systemd/user/", "lib/udev/hwdb", "usr/games/", "usr/include/", "usr/src/"),
    *("usr/lib/apt/", "usr/lib/dpkg/", "usr/lib/initramfs-tools/", "usr/lib/klibc/", "lib/klibc"),
    *(
        "usr/share/bash-completion/",
        "usr/share/bug/",
        "usr/share/debconf/",
        "usr/share/doc",
        "usr/share/dpkg/",
    ),
    *("usr/share/emacs", "usr/share/fish/", "usr/share/i18n/", "usr/share/icons/", "usr/share/info/"),
    *(
        "usr/share/initramfs-tools/",
        "usr/share/lintian/",
        "usr/share/locale/",
        "usr/share/man/",
        "usr/share/menu/",
    ),
    *("usr/share/misc/enterprise-numbers", "usr/share/perl", "usr/share/pixmaps/", "usr/share/applications/"),
    *("usr/share/zsh/", "var/cache/", "var/lib/apt/", "var/lib/dpkg/", "var/log/"),
    # Perl, and what needs it.
    *("usr/bin/perl", "usr/lib/x86_64-linux-gnu/libperl", "usr/lib/x86_64-linux-gnu/perl"),
    # ICU is for file names in `xfs_scrub` alone; gconv for characters that nobody types here.
    *("usr/lib/x86_64-linux-gnu/libicu", "usr/sbin/xfs_scrub", "usr/lib/x86_64-linux-gnu/gconv/"),
    *("usr/bin/pzstd", "usr/sbin/ipmievd"),
    # Python's own tests and tools.
    *(
        f"usr/lib/python3.{minor}/{part}"
        for minor in range(11, 20)
        for part in (
            "distutils/",
            "ensurepip/",
            "idlelib/",
            "lib2to3/",
            "pydoc",
            "test/",
            "tkinter/",
            "turtle",
        )
    ),
)

# Drivers of things that servers do not have, and protocols that nothing here speaks; below `kernel/`.
UNWANTED_MODULES = (
    *(
        "arch/x86/kvm/",
        "drivers/bluetooth/",
        "drivers/comedi/",
        "drivers/firewire/",
        "drivers/gpu/",
        "drivers/iio/",
    ),
    *(
        "drivers/infiniband/",
        "drivers/input/joystick/",
        "drivers/input/tablet/",
        "drivers/input/touchscreen/",
    ),
    *(
        "drivers/isdn/",
        "drivers/leds/",
        "drivers/media/",
        "drivers/memstick/",
        "drivers/mmc/",
        "drivers/mtd/",
    ),
    *(
        "drivers/net/can/",
        "drivers/net/ieee802154/",
        "drivers/net/wireless/",
        "drivers/net/wwan/",
        "drivers/nfc/",
    ),
    *("drivers/parport/", "drivers/pcmcia/", "drivers/platform/", "drivers/power/", "drivers/rpmsg/"),
    *(
        "drivers/soundwire/",
        "drivers/staging/",
        "drivers/target/",
        "drivers/thunderbolt/",
        "drivers/usb/gadget/",
    ),
    *("drivers/usb/serial/", "drivers/vhost/", "drivers/video/", "drivers/w1/", "drivers/xen/", "sound/"),
    *("drivers/block/drbd/", "drivers/block/nbd", "drivers/block/rbd", "lib/test_"),
    *("fs/9p/", "fs/afs/", "fs/btrfs/", "fs/ceph/", "fs/cifs/", "fs/coda/", "fs/f2fs/", "fs/gfs2/", "fs/hfs"),
    *("fs/jfs/", "fs/jffs2/", "fs/nfs", "fs/nilfs2/", "fs/ocfs2/", "fs/orangefs/", "fs/reiserfs/", "fs/smb/"),
    *(
        "fs/ubifs/",
        "fs/udf/",
        "fs/ufs/",
        "fs/zonefs/",
        "net/6lowpan/",
        "net/9p/",
        "net/appletalk/",
        "net/atm/",
    ),
    *("net/ax25/", "net/batman-adv/", "net/bluetooth/", "net/bridge/netfilter/", "net/can/", "net/ceph/"),
    *(
        "net/dccp/",
        "net/ieee802154/",
        "net/ipv4/netfilter/",
        "net/ipv6/netfilter/",
        "net/lapb/",
        "net/mac80211/",
    ),
    *(
        "net/mac802154/",
        "net/mpls/",
        "net/netfilter/",
        "net/netrom/",
        "net/nfc/",
        "net/openvswitch/",
        "net/phonet/",
    ),
    *(
        "net/rds/",
        "net/rose/",
        "net/rxrpc/",
        "net/sched/",
        "net/sctp/",
        "net/smc/",
        "net/sunrpc/",
        "net/tipc/",
    ),
    *("net/vmw_vsock/", "net/wireless/", "net/x25/", "net/xfrm/"),
)

LINKS = {
    "bin/sh": "dash",
    "etc/mtab": "/proc/self/mounts",
    "usr/bin/awk": "mawk",
    "usr/bin/vi": "vim.tiny",
    "var/run": "/run",
}
BUSYBOX = ("ftpget", "ftpput", "killall", "poweroff", "reboot", "telnet", "tftp", "udhcpc", "wget")
FOLDERS = ("dev", "media", "mnt", "proc", "run", "sys", "target", "var/lib/misc", "var/log")
CERTIFICATES = "usr/share/ca-certificates/"

PASSWD = """root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
"""  # noqa: S105  # the file of that name
GROUP = """root:x:0:
tty:x:5:
disk:x:6:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
tape:x:26:
audio:x:29:
video:x:44:
input:x:101:
kvm:x:102:
render:x:103:
sgx:x:104:
shadow:x:42:
nogroup:x:65534:
"""
SHADOW = """root:*:1::::::
nobody:*:1::::::
sshd:*:1::::::
"""
