use super::*;

const MIB: u64 = 1 << 20;

fn memory(mebibytes: u64) -> GuestMemory {
    GuestMemory::new(mebibytes * MIB).unwrap()
}

/// A vmlinux with one segment of `size` bytes in memory at 16 MiB, and 4096 bytes of code.
fn vmlinux(size: u64) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    for (offset, value) in [(16, 2_u16), (18, 62), (52, 64), (54, 56), (56, 1), (58, 64)] {
        image[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }
    image[20] = 1;
    for (offset, value) in [(24, 0x100_0000_u64), (32, 64)] {
        image[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    image[64] = 1;
    let segment = [0x1000_u64, 0xffff_ffff_8100_0000, 0x100_0000, 0x1000, size, 0x1000];
    for (index, value) in segment.into_iter().enumerate() {
        image[72 + 8 * index..80 + 8 * index].copy_from_slice(&value.to_le_bytes());
    }
    image.extend([0x90; 0x1000]);
    image
}

/// A bzImage of protocol 2.15 with one setup sector and 4096 bytes of code.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x1f4..0x1f8].copy_from_slice(&(0x1000_u32 / 16).to_le_bytes());
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x200..0x202].copy_from_slice(&[0xeb, 0x6a]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    image[0x236] = 1;
    image[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    image[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    image[0x260..0x264].copy_from_slice(&(8 * MIB as u32).to_le_bytes());
    image.extend([0xcc; 0x1000]);
    image
}

fn request(kernel: &[u8]) -> BootRequest<'_> {
    BootRequest { kernel, command_line: "console=ttyS0", ..BootRequest::default() }
}

#[test]
fn a_vmlinux_is_entered_at_its_physical_entry_point() {
    let (memory, kernel) = (memory(64), vmlinux(4 * MIB));
    let entry = load(&request(&kernel), &memory).unwrap();
    assert_eq!((entry.rip, entry.rsi), (0x100_0000, 0x7000));
    assert_eq!(memory.read_u8(GuestPhysAddr(0x100_0000)), Ok(0x90));
    let line = memory.read_u32(GuestPhysAddr(0x7228)).unwrap();
    assert_eq!(&memory.read_array::<14>(GuestPhysAddr(u64::from(line))).unwrap(), b"console=ttyS0\0");
    let rsdp = memory.read_u64(GuestPhysAddr(0x7070)).unwrap();
    assert_eq!(&memory.read_array::<8>(GuestPhysAddr(rsdp)).unwrap(), b"RSD PTR ");
    assert_eq!(memory.read_u32(GuestPhysAddr(0x7202)), Ok(u32::from_le_bytes(*b"HdrS")));
}

#[test]
fn a_bzimage_is_entered_at_its_64_bit_entry_point_with_its_own_header() {
    let (memory, kernel) = (memory(64), bzimage());
    let entry = load(&request(&kernel), &memory).unwrap();
    assert_eq!(entry.rip, 0x100_0200);
    assert_eq!(memory.read_u8(GuestPhysAddr(0x100_0000)), Ok(0xcc));
    assert_eq!(memory.read_u32(GuestPhysAddr(0x7260)), Ok(8 * MIB as u32), "init_size");
    assert_eq!(memory.read_u8(GuestPhysAddr(0x7210)), Ok(0xff), "type_of_loader");
    assert_eq!(memory.read_u8(GuestPhysAddr(0x7211)).unwrap() & 1, 1, "LOADED_HIGH");
}

#[test]
fn the_page_tables_map_the_low_4_gib_to_themselves() {
    let memory = memory(64);
    let entry = load(&request(&vmlinux(MIB)), &memory).unwrap();
    for address in [0_u64, 0x7000, 0x100_0000, 0xbfff_ffff, 0xffff_f000] {
        let mut table = entry.cr3;
        for shift in [39, 30] {
            let next = memory.read_u64(GuestPhysAddr(table + (address >> shift & 511) * 8)).unwrap();
            assert_eq!(next & 0x83, 3);
            table = next & !0xfff;
        }
        let page = memory.read_u64(GuestPhysAddr(table + (address >> 21 & 511) * 8)).unwrap();
        assert_eq!(page, address >> 21 << 21 | 0x83);
    }
    assert_eq!(memory.read_u64(GuestPhysAddr(entry.gdt_base + 0x10)), Ok(entry.code_descriptor));
}

#[test]
fn the_memory_map_covers_ram_and_spares_the_bios_area() {
    let memory = memory(64);
    load(&request(&vmlinux(MIB)), &memory).unwrap();
    let count = memory.read_u8(GuestPhysAddr(0x71e8)).unwrap();
    let map: Vec<_> = (0..u64::from(count))
        .map(|index| {
            let entry = 0x72d0 + index * 20;
            let field = |offset| memory.read_u64(GuestPhysAddr(entry + offset)).unwrap();
            (field(0), field(8), memory.read_u32(GuestPhysAddr(entry + 16)).unwrap())
        })
        .collect();
    assert!(map.contains(&(0, 0x9_fc00, 1)));
    assert!(map.contains(&(MIB, 63 * MIB, 1)));
    assert!(map.contains(&(0xe_0000, 0x2_0000, 2)));
    assert!(map.contains(&(0xe000_0000, MIB, 2)));
}

#[test]
fn the_initrd_goes_to_the_top_of_ram_in_whole_pages() {
    let (memory, kernel) = (memory(64), bzimage());
    let initrd = vec![7; 5000];
    load(&BootRequest { initrd: Some(&initrd), ..request(&kernel) }, &memory).unwrap();
    let address = memory.read_u32(GuestPhysAddr(0x7218)).unwrap();
    assert_eq!(u64::from(address), 64 * MIB - 8192);
    assert_eq!(memory.read_u32(GuestPhysAddr(0x721c)), Ok(5000));
    assert_eq!(memory.read_u8(GuestPhysAddr(u64::from(address) + 4999)), Ok(7));
}

#[test]
fn too_little_memory_is_reported_with_what_is_needed() {
    let kernel = vmlinux(30 * MIB);
    let error = load(&request(&kernel), &memory(32)).unwrap_err();
    assert_eq!(error, BootError::NotEnoughMemory { needed: 46 * MIB, available: 32 * MIB });
    assert!(error.to_string().contains("at least 46 MiB"), "{error}");

    let initrd = vec![0; 20 * MIB as usize];
    let error = load(&BootRequest { initrd: Some(&initrd), ..request(&kernel) }, &memory(64)).unwrap_err();
    assert_eq!(error, BootError::NotEnoughMemory { needed: 66 * MIB, available: 64 * MIB });
}

#[test]
fn an_initrd_beyond_the_kernels_limit_is_refused() {
    let mut kernel = bzimage();
    kernel[0x22c..0x230].copy_from_slice(&(0x1ff_ffff_u32).to_le_bytes());
    let initrd = vec![0; 9 * MIB as usize];
    let error = load(&BootRequest { initrd: Some(&initrd), ..request(&kernel) }, &memory(64)).unwrap_err();
    assert_eq!(error, BootError::InitrdTooLarge { length: 9 * MIB, limit: 8 * MIB });
}

#[test]
fn command_lines_that_the_kernel_would_cut_are_refused() {
    let kernel = vmlinux(MIB);
    let long = "x".repeat(2048);
    let error = load(&BootRequest { command_line: &long, ..request(&kernel) }, &memory(64)).unwrap_err();
    assert_eq!(error, BootError::CommandLineTooLong { length: 2048, limit: 2047 });
    let error = load(&BootRequest { command_line: "a\0b", ..request(&kernel) }, &memory(64)).unwrap_err();
    assert_eq!(error, BootError::CommandLineHasNul);
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let memory = memory(64);
    let error = |image: &[u8]| load(&request(image), &memory).unwrap_err();
    assert_eq!(error(b""), BootError::NotAKernel);
    assert_eq!(error(&[0x1f; 4096]), BootError::NotAKernel);
    let mut small = vmlinux(MIB);
    small[18] = 183;
    assert_eq!(error(&small), BootError::WrongArchitecture { machine: 183, bits: 64 });
    let mut old = bzimage();
    old[0x206] = 0x0b;
    assert_eq!(error(&old), BootError::No64BitEntry { major: 2, minor: 11 });
    let mut short = bzimage();
    short[0x236] = 0;
    assert!(matches!(error(&short), BootError::No64BitEntry { .. }));
    let mut low = vmlinux(MIB);
    low[88..96].copy_from_slice(&0x7000_u64.to_le_bytes());
    assert_eq!(error(&low), BootError::BadAddress { what: "segment", address: 0x7000 });
}

#[test]
fn truncated_images_of_any_length_are_errors_not_panics() {
    let memory = memory(64);
    for kernel in [vmlinux(MIB), bzimage()] {
        for length in (0..kernel.len()).step_by(7) {
            assert!(load(&request(&kernel[..length]), &memory).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn the_seed_is_handed_over_as_setup_data() {
    let (memory, kernel) = (memory(64), vmlinux(MIB));
    load(&BootRequest { random_seed: Some([5; 32]), ..request(&kernel) }, &memory).unwrap();
    let node = memory.read_u64(GuestPhysAddr(0x7250)).unwrap();
    assert_eq!(memory.read_u64(GuestPhysAddr(node)), Ok(0));
    assert_eq!(memory.read_u32(GuestPhysAddr(node + 8)), Ok(9));
    assert_eq!(memory.read_u32(GuestPhysAddr(node + 12)), Ok(32));
    assert_eq!(memory.read_array::<32>(GuestPhysAddr(node + 16)), Ok([5; 32]));
}

/// An ELF32 file with a multiboot header, one segment of 4096 bytes in the file at 1 MiB.
fn multiboot(flags: u32) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[..8].copy_from_slice(b"\x7fELF\x01\x01\x01\x00");
    for (offset, value) in [(16, 2_u16), (18, 3), (40, 52), (42, 32), (44, 1), (46, 40)] {
        image[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }
    let mut put = |offset: usize, value: u32| image[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    for (offset, value) in [(20, 1), (24, 0x10_0010), (28, 52)] {
        put(offset, value);
    }
    for (index, value) in [1, 0x1000, 0x10_0000, 0x10_0000, 0x1000, 0x3000, 7, 0x1000].into_iter().enumerate()
    {
        put(52 + 4 * index, value);
    }
    for (index, value) in
        [0x1bad_b002, flags, 0x1bad_b002_u32.wrapping_add(flags).wrapping_neg()].iter().enumerate()
    {
        put(0x200 + 4 * index, *value);
    }
    image.extend([0xf4; 0x1000]);
    image
}

#[test]
fn a_multiboot_kernel_is_entered_in_protected_mode_with_its_information() {
    let (memory, kernel) = (memory(64), multiboot(3));
    let entry = load(&BootRequest { initrd: Some(&[9; 100]), ..request(&kernel) }, &memory).unwrap();
    assert_eq!((entry.rip, entry.rax), (0x10_0010, 0x2bad_b002));
    assert_eq!((entry.cr0 & (1 << 31 | 1), entry.efer, entry.cr4), (1, 0, 0));
    assert_eq!(memory.read_u8(GuestPhysAddr(0x10_0fff)), Ok(0xf4));
    let field = |index: u64| memory.read_u32(GuestPhysAddr(entry.rbx + 4 * index)).unwrap();
    assert_eq!(field(0), 0x24d);
    assert_eq!((field(1), field(2)), (639, 63 * 1024));
    let line = memory.read_array::<21>(GuestPhysAddr(field(4).into())).unwrap();
    assert_eq!(&line, b"kernel console=ttyS0\0");
    assert_eq!(field(5), 1);
    let module = memory.read_u32(GuestPhysAddr(field(6).into())).unwrap();
    let end = memory.read_u32(GuestPhysAddr(u64::from(field(6)) + 4)).unwrap();
    assert_eq!(end - module, 100);
    assert_eq!(memory.read_u8(GuestPhysAddr(u64::from(end) - 1)), Ok(9));
    assert_eq!((field(11), memory.read_u32(GuestPhysAddr(field(12).into())).unwrap()), (5 * 24, 20));
}

#[test]
fn multiboot_kernels_that_cannot_be_served_are_refused() {
    let memory = memory(64);
    let error = |image: &[u8]| load(&request(image), &memory).unwrap_err();
    assert_eq!(error(&multiboot(4)), BootError::UnknownMultibootFlags { flags: 4 });
    let mut low = multiboot(0);
    low[52 + 12..52 + 16].copy_from_slice(&0x8000_u32.to_le_bytes());
    assert_eq!(error(&low), BootError::BadAddress { what: "segment", address: 0x8000 });
    let mut large = multiboot(0);
    large[52 + 20..52 + 24].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
    assert!(matches!(error(&large), BootError::NotEnoughMemory { .. }));
    let mut outside = multiboot(0);
    outside[24..28].copy_from_slice(&0x20_0000_u32.to_le_bytes());
    assert_eq!(error(&outside), BootError::BadAddress { what: "entry point", address: 0x20_0000 });
    let mut bare = multiboot(0);
    bare[0x200] = 0;
    assert_eq!(error(&bare), BootError::WrongArchitecture { machine: 3, bits: 32 });
    let kernel = multiboot(0);
    for length in (0..kernel.len()).step_by(7) {
        assert!(load(&request(&kernel[..length]), &memory).is_err(), "{length} bytes");
    }
}

#[test]
fn images_with_random_changes_are_loaded_or_refused_without_a_panic() {
    let memory = memory(64);
    let mut state = 0x5eed_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for kernel in [vmlinux(MIB), bzimage(), multiboot(3)] {
        let mut refused = 0;
        for _ in 0..2_000 {
            let mut image = kernel.clone();
            for _ in 0..1 + random(4) {
                let place = random(0x400);
                image[place] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
            }
            let initrd = vec![1; random(3) * 5000];
            let request = BootRequest { initrd: Some(&initrd), ..request(&image) };
            refused += u32::from(load(&request, &memory).is_err());
        }
        assert!((1..2_000).contains(&refused), "{refused} refused");
    }
}
