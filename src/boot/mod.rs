//! Loading a kernel: vmlinux (ELF) and bzImage, boot_params, command line, initrd.
