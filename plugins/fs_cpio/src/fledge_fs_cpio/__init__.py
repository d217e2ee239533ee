"""The filesystem `cpio`: newc archives, which the kernel unpacks as an initramfs."""
