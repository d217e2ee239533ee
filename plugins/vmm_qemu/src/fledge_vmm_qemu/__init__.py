"""The VMM qemu: boots with KVM, and without it with an emulated processor."""
