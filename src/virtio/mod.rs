//! Virtio 1.2: split queues, the PCI transport, and one folder a device.
