"""The strategy initramfs: programs, busybox and an init become an initramfs."""
