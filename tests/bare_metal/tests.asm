; System behaviour, printed: one line a test. An exception is shown as vector, error code and, for #PF, CR2.
%include "machine.inc"

; The page table entry of a page of the tests.
%define ENTRY(page) TABLE + ((page - USER_CODE_PAGE) >> 9)

tests:
    mov byte [abs NO_EXECUTE_PAGE], 0xc3

; Paging: permissions (SDM vol. 3A 4.6) and error codes (4.7).
    TEST "kernel reads an absent page"
    mov al, [abs ABSENT_PAGE + 5]
    ENDTEST
    TEST "kernel writes an absent page"
    mov [abs ABSENT_PAGE + 6], al
    ENDTEST
    TEST "kernel writes a read-only page with WP"
    mov [abs READ_ONLY_PAGE], al
    ENDTEST
    TEST "kernel writes a read-only page without WP"
    mov rax, cr0
    and rax, ~0x10000
    mov cr0, rax
    mov [abs READ_ONLY_PAGE], al
    ENDTEST
    mov rax, cr0
    or rax, 0x10000
    mov cr0, rax
    TEST "kernel executes a no-execute page"
    mov rax, NO_EXECUTE_PAGE
    call rax
    ENDTEST
    TEST "kernel reads a page with reserved bits"
    mov al, [abs RESERVED_PAGE]
    ENDTEST
    TEST "an access crosses into an absent page"
    mov rax, [abs ABSENT_PAGE - 4]
    ENDTEST
    TEST "an address that is not canonical"
    mov rbx, 0x800000000000
    mov al, [rbx]
    ENDTEST
    mov byte [idt + 12 * 16 + 4], 1
    mov byte [idt + 13 * 16 + 4], 1
    TEST "a stack that is not canonical"
    mov rsp, 0x900000000000
    push rax
    ENDTEST
    mov byte [idt + 12 * 16 + 4], 0
    mov byte [idt + 13 * 16 + 4], 0
    USERTEST "user reads its page"
    mov al, [abs USER_DATA_PAGE]
    ENDUSERTEST
    USERTEST "user reads a system page"
    mov al, [abs SYSTEM_PAGE]
    ENDUSERTEST
    USERTEST "user writes a system page"
    mov [abs SYSTEM_PAGE], al
    ENDUSERTEST
    USERTEST "user writes a read-only page"
    mov [abs READ_ONLY_PAGE], al
    ENDUSERTEST
    USERTEST "user executes a no-execute page"
    mov rax, NO_EXECUTE_PAGE
    call rax
    ENDUSERTEST
    USERTEST "user executes a system page"
    mov rax, SYSTEM_PAGE
    jmp rax
    ENDUSERTEST
    USERTEST "user reads an absent page"
    mov al, [abs ABSENT_PAGE]
    ENDUSERTEST

; Accessed and dirty (4.8).
    TEST "accessed and dirty: fresh, read, written"
    mov dword [abs ENTRY(USER_DATA_PAGE)], USER_DATA_PAGE + 7
    invlpg [abs USER_DATA_PAGE]
    mov rbx, [abs ENTRY(USER_DATA_PAGE)]
    mov al, [abs USER_DATA_PAGE]
    mov rcx, [abs ENTRY(USER_DATA_PAGE)]
    mov [abs USER_DATA_PAGE], al
    mov rdx, [abs ENTRY(USER_DATA_PAGE)]
    SHOW rbx
    SHOW rcx
    SHOW rdx
    ENDTEST
    TEST "accessed stays clear when a write is refused"
    mov dword [abs ENTRY(READ_ONLY_PAGE)], READ_ONLY_PAGE + 5
    invlpg [abs READ_ONLY_PAGE]
    mov [abs READ_ONLY_PAGE], al
    ENDTEST
    TEST "… and the entry after that"
    mov rax, [abs ENTRY(READ_ONLY_PAGE)]
    and eax, 0x40
    call print_number
    ENDTEST

%include "contexts.inc"

; SMEP, SMAP, UMIP.
    mov byte [abs USER_CODE_PAGE], 0xc3
    TEST "kernel executes a user page"
    mov rax, USER_CODE_PAGE
    call rax
    ENDTEST
    TEST "kernel executes a user page with SMEP"
    CR4_SET 1 << 20
    mov rax, USER_CODE_PAGE
    call rax
    ENDTEST
    CR4_CLEAR 1 << 20
    TEST "kernel reads a user page with SMAP"
    CR4_SET 1 << 21
    mov al, [abs USER_DATA_PAGE]
    ENDTEST
    TEST "kernel reads a user page with SMAP and AC"
    stac
    mov al, [abs USER_DATA_PAGE]
    clac
    ENDTEST
    TEST "kernel writes a user page with SMAP after CLAC"
    mov [abs USER_DATA_PAGE], al
    ENDTEST
    CR4_CLEAR 1 << 21
    USERTEST "user stores GDTR"
    sgdt [abs USER_DATA_PAGE]
    ENDUSERTEST
    CR4_SET 1 << 11
    USERTEST "user stores GDTR with UMIP"
    sgdt [abs USER_DATA_PAGE]
    ENDUSERTEST
    USERTEST "user stores the machine status word with UMIP"
    smsw ax
    ENDUSERTEST
    USERTEST "user stores the task register with UMIP"
    str ax
    ENDUSERTEST
    TEST "kernel stores GDTR with UMIP"
    sgdt [abs SYSTEM_PAGE]
    ENDTEST
    CR4_CLEAR 1 << 11

; Control registers and MSRs.
    TEST "a reserved bit of EFER"
    mov ecx, 0xc0000080
    rdmsr
    or eax, 1 << 9
    wrmsr
    ENDTEST
    TEST "LSTAR that is not canonical"
    mov ecx, 0xc0000082
    xor eax, eax
    mov edx, 0x8000
    wrmsr
    ENDTEST
    TEST "CR8 above 15"
    mov eax, 16
    mov cr8, rax
    ENDTEST
    USERTEST "user reads CR0"
    mov rax, cr0
    ENDUSERTEST
    USERTEST "user halts"
    hlt
    ENDUSERTEST
    USERTEST "user writes a port"
    out 0x80, al
    ENDUSERTEST
    USERTEST "user disables interrupts"
    cli
    ENDUSERTEST
    USERTEST "user raises vector 0x20"
    int 0x20
    ENDUSERTEST
    USERTEST "user raises a breakpoint"
    int3
    ENDUSERTEST

; Segments and the task register.
    TEST "the task's descriptor is busy"
    movzx rax, byte [gdt + TSS_SELECTOR + 5]
    call print_number
    ENDTEST
    TEST "a busy task is loaded"
    mov ax, TSS_SELECTOR
    ltr ax
    ENDTEST
    TEST "SS null at privilege 0"
    xor eax, eax
    mov ss, ax
    mov ax, KERNEL_DS
    mov ss, ax
    ENDTEST
    TEST "SS of the user's privilege"
    mov ax, USER_DS
    mov ss, ax
    ENDTEST
    TEST "DS beyond the table"
    mov ax, 0x1230
    mov ds, ax
    ENDTEST
    TEST "DS of code that cannot be read is no data"
    mov ax, TSS_SELECTOR
    mov ds, ax
    ENDTEST
    TEST "DS not present"
    mov ax, ABSENT_DS
    mov ds, ax
    ENDTEST
    TEST "SS not present"
    mov ax, ABSENT_DS
    mov ss, ax
    ENDTEST
    TEST "a far return to a data segment"
    push qword KERNEL_DS
    lea rax, [rel $]
    push rax
    retfq
    ENDTEST
    TEST "IRETQ to an address that is not canonical"
    push qword USER_DS
    push qword USER_DATA_PAGE + 0x1000
    push qword 2
    push qword USER_CS
    mov rax, 0x900000000000
    push rax
    iretq
    ENDTEST
    TEST "DS null with privilege 3, back in the user"
    mov ax, 3
    mov ds, ax
    mov rsi, .null
    mov edx, USER_CS
    jmp run_user
.null:
    mov ax, ds
    mov [abs USER_DATA_PAGE], ax
    int 0x80
    ENDTEST
    TEST "… and what it was"
    movzx eax, word [abs USER_DATA_PAGE]
    call print_number
    ENDTEST
    TEST "code of 32 bits for the user"
    mov rsi, .narrow
    mov edx, USER_CS32
    jmp run_user
bits 32
.narrow:
    ; Segments of more privilege are null by now.
    mov ax, USER_DS
    mov ds, ax
    mov eax, -1
    add eax, 2
    inc eax
    mov [USER_DATA_PAGE], eax
    int 0x80
bits 64
    ENDTEST
    TEST "… and what it has left"
    mov eax, [abs USER_DATA_PAGE]
    call print_number
    ENDTEST

; Stacks of exceptions.
    USERTEST "user divides by zero"
    xor ecx, ecx
    div ecx
    ENDUSERTEST
    TEST "… on the stack of the task"
    mov rax, RSP0_TOP
    sub rax, [seen_frame]
    call print_number
    ENDTEST
    mov byte [idt + 13 * 16 + 4], 2
    TEST "#GP with a stack of the interrupt stack table"
    mov rbx, 0x800000000000
    mov al, [rbx]
    ENDTEST
    TEST "… where its frame is"
    mov rax, IST2_TOP
    sub rax, [seen_frame]
    call print_number
    ENDTEST
    mov byte [idt + 13 * 16 + 4], 0
    mov byte [idt + 8 * 16 + 4], 1
    mov qword [tss + 0x2c], ABSENT_PAGE + 0x800
    mov byte [idt + 14 * 16 + 4], 2
    TEST "#PF while #PF is delivered"
    mov al, [abs ABSENT_PAGE]
    ENDTEST
    mov byte [idt + 14 * 16 + 4], 0
    mov byte [idt + 13 * 16 + 4], 2
    TEST "#PF while #GP is delivered"
    mov rbx, 0x800000000000
    mov al, [rbx]
    ENDTEST
    mov byte [idt + 13 * 16 + 4], 0
    mov qword [tss + 0x2c], IST2_TOP
    mov byte [idt + 13 * 16 + 5], 0x0e
    TEST "#GP whose gate is not present"
    mov rbx, 0x800000000000
    mov al, [rbx]
    ENDTEST
    mov byte [idt + 13 * 16 + 5], 0x8e
    mov byte [idt + 0x41 * 16 + 5], 0x0e
    TEST "a software interrupt whose gate is not present"
    int 0x41
    ENDTEST
    mov word [idt + 0x41 * 16 + 2], KERNEL_DS
    mov byte [idt + 0x41 * 16 + 5], 0x8e
    TEST "a gate to a data segment"
    int 0x41
    ENDTEST

; Debug exceptions (SDM vol. 3B 17).
    TEST "a single step"
    pushfq
    or qword [rsp], 0x100
    popfq
    nop
.stepped:
    nop
    ENDTEST
    TEST "… DR6 and how far"
    SHOW [seen_dr6]
    mov rax, [seen_rip]
    sub rax, .place_of_step
    call print_number
    jmp .shown_step
.place_of_step equ tests.stepped
.shown_step:
    ENDTEST
    mov rax, 0xffff0ff0
    mov dr6, rax
    TEST "a breakpoint on execution"
    mov rax, .watched
    mov dr0, rax
    mov rax, 0x402
    mov dr7, rax
    nop
.watched:
    nop
    ENDTEST
    TEST "… DR6, RF and how far"
    SHOW [seen_dr6]
    mov rax, [seen_flags]
    shr rax, 16
    and eax, 1
    call print_number
    mov rax, [seen_rip]
    mov rcx, tests.watched
    sub rax, rcx
    call print_number
    ENDTEST
    mov rax, 0xffff0ff0
    mov dr6, rax
    TEST "IRET with RF passes a breakpoint once"
    mov rax, .resumed
    mov dr0, rax
    mov rax, 0x402
    mov dr7, rax
    mov rcx, rsp
    push qword KERNEL_DS
    push rcx
    pushfq
    or qword [rsp], 1 << 16
    push qword KERNEL_CS
    push rax
    mov rax, .resumed
    mov [rsp], rax
    xor ebx, ebx
    iretq
.resumed:
    inc ebx
    cmp ebx, 2
    jb .resumed
    ENDTEST
    TEST "… passed"
    mov eax, ebx
    call print_number
    ENDTEST
    mov rax, 0xffff0ff0
    mov dr6, rax
    TEST "a watched write of four bytes"
    mov rax, SYSTEM_PAGE + 16
    mov dr1, rax
    mov rax, 0xd00408
    mov dr7, rax
    mov [abs SYSTEM_PAGE + 20], eax
    mov al, [abs SYSTEM_PAGE + 16]
    mov [abs SYSTEM_PAGE + 18], al
.behind_write:
    nop
    ENDTEST
    TEST "… DR6 and how far"
    SHOW [seen_dr6]
    mov rax, [seen_rip]
    mov rcx, tests.behind_write
    sub rax, rcx
    call print_number
    ENDTEST
    mov rax, 0x400
    mov dr7, rax
    TEST "a watched read by MOV SS traps one instruction later"
    mov word [abs SYSTEM_PAGE + 16], KERNEL_DS
    mov rax, SYSTEM_PAGE + 16
    mov dr1, rax
    mov rax, 0x700408
    mov dr7, rax
    mov ss, [abs SYSTEM_PAGE + 16]
    nop
.behind_shadow_of_ss:
    nop
    ENDTEST
    TEST "… how far from there"
    mov rax, [seen_rip]
    mov rcx, tests.behind_shadow_of_ss
    sub rax, rcx
    call print_number
    ENDTEST
    mov rax, 0xffff0ff0
    mov dr6, rax
    TEST "INT1 behind a watched read by MOV SS is told with it"
    mov rax, 0x700408
    mov dr7, rax
    mov ss, [abs SYSTEM_PAGE + 16]
    int1
.behind_int1:
    nop
    ENDTEST
    TEST "… DR6, and how far from INT1"
    SHOW [seen_dr6]
    mov rax, [seen_rip]
    mov rcx, tests.behind_int1
    sub rax, rcx
    call print_number
    ENDTEST
    mov rax, 0xffff0ff0
    mov dr6, rax
    mov rax, 0x400
    mov dr7, rax
    TEST "INT1"
    db 0xf1
    ENDTEST
    TEST "… DR6"
    SHOW [seen_dr6]
    ENDTEST
    TEST "DR4 is DR6 without DE"
    mov rax, dr4
    and eax, 0xf
    call print_number
    ENDTEST
    CR4_SET 8
    TEST "DR4 with DE"
    mov rax, dr4
    ENDTEST
    CR4_CLEAR 8
    TEST "high bits of DR7"
    mov rax, 1 << 32
    mov dr7, rax
    ENDTEST
    TEST "general detect"
    mov rax, 0x2400
    mov dr7, rax
    mov rax, dr0
    ENDTEST
    TEST "… DR6, and DR7 after it"
    SHOW [seen_dr6]
    mov rax, dr7
    call print_number
    ENDTEST
    mov rax, 0x400
    mov dr7, rax

; Interrupts and their shadow.
    mov dword [r15 + 0x80], 0
    TEST "an IPI to self waits for STI and one instruction"
    mov dword [r15 + 0x300], 0x40031
    call settle
    SHOW [interrupts]
    sti
.in_shadow:
    inc ecx
.behind_shadow:
    nop
    cli
    SHOW [interrupts]
    mov rax, [interrupt_rip]
    mov rcx, .behind_shadow
    sub rax, rcx
    call print_number
    ENDTEST
    TEST "POPF has no shadow"
    mov dword [r15 + 0x300], 0x40031
    call settle
    push qword 0x202
    popfq
.behind_popf:
    nop
    nop
    cli
    mov rax, [interrupt_rip]
    mov rcx, .behind_popf
    sub rax, rcx
    call print_number
    ENDTEST
    TEST "an IPI to the own APIC ID"
    mov dword [r15 + 0x310], 0
    mov dword [r15 + 0x300], 0x00035
    sti
    call settle
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    ENDTEST
    TEST "an IPI to a logical destination, its own and another"
    mov dword [r15 + 0xe0], 0xffffffff
    mov dword [r15 + 0xd0], 0x02000000
    mov dword [r15 + 0x310], 0x04000000
    mov dword [r15 + 0x300], 0x00836
    sti
    call settle
    cli
    SHOW [interrupts]
    mov dword [r15 + 0x310], 0x02000000
    mov dword [r15 + 0x300], 0x00836
    sti
    call settle
    cli
    SHOW [interrupts]
    ENDTEST
    TEST "the task priority holds interrupts back"
    mov eax, 4
    mov cr8, rax
    mov dword [r15 + 0x300], 0x40031
    mov dword [r15 + 0x300], 0x40052
    sti
    call settle
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    mov eax, [r15 + 0x80]
    call print_number
    xor eax, eax
    mov cr8, rax
    sti
    call settle
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    ENDTEST
    TEST "the higher of two vectors comes first"
    mov dword [r15 + 0x300], 0x40031
    mov dword [r15 + 0x300], 0x40062
    sti
    call settle
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    ENDTEST
    TEST "an NMI to self"
    mov dword [r15 + 0x310], 0
    mov dword [r15 + 0x300], 0x00400
    call settle
    ENDTEST

; The timer of the local APIC.
    mov dword [r15 + 0x3e0], 0xb
    TEST "the timer once"
    mov dword [r15 + 0x320], 0x37
    mov dword [r15 + 0x380], 20000
    sti
.once:
    cmp qword [interrupts], 0
    je .once
    call settle
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    mov eax, [r15 + 0x390]
    call print_number
    ENDTEST
    TEST "the timer again and again"
    mov dword [r15 + 0x320], 0x20038
    mov dword [r15 + 0x380], 20000
    sti
.periodic:
    cmp qword [interrupts], 3
    jb .periodic
    mov dword [r15 + 0x320], 0x30038
    mov dword [r15 + 0x380], 0
    cli
    SHOW [last_interrupt]
    ENDTEST
    TEST "the timer masked"
    mov dword [r15 + 0x320], 0x10038
    mov dword [r15 + 0x380], 1000
    sti
    call settle
.masked:
    mov eax, [r15 + 0x390]
    test eax, eax
    jnz .masked
    call settle
    cli
    SHOW [interrupts]
    ENDTEST

%include "deadline.inc"

; The I/O APIC: the timer of the old kind at pin 2.
    TEST "a pin of the I/O APIC"
    mov dword [r14], 0x15
    mov dword [r14 + 16], 0
    mov dword [r14], 0x14
    mov dword [r14 + 16], 0x39
    call start_pit
    sti
.pin:
    cmp qword [interrupts], 0
    je .pin
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    ENDTEST
    TEST "a masked pin of the I/O APIC"
    mov dword [r14], 0x14
    mov dword [r14 + 16], 0x10039
    call start_pit
    sti
.expired:
    mov al, 0xe2            ; read back the status of channel 0
    out 0x43, al
    in al, 0x40
    test al, 0x80
    jz .expired
    call settle
    cli
    SHOW [interrupts]
    ENDTEST

    TEST "a pin with a logical destination, lowest priority"
    mov dword [r14], 0x15
    mov dword [r14 + 16], 0x02000000
    mov dword [r14], 0x14
    mov dword [r14 + 16], 0x93d
    call start_pit
    sti
.logical:
    cmp qword [interrupts], 0
    je .logical
    cli
    SHOW [interrupts]
    SHOW [last_interrupt]
    ENDTEST

%include "messages.inc"

; System calls.
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x180008       ; SYSRET from 0x18, SYSCALL to 0x08
    wrmsr
    mov ecx, 0xc0000082
    mov rax, system_call
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    mov eax, 0x400
    xor edx, edx
    wrmsr
    USERTEST "a system call and its return"
    std
    syscall
    pushfq
    pop rax
    and eax, 0xcff
    mov [abs USER_DATA_PAGE], rax
    ENDUSERTEST
    cld
    TEST "… what it saw: RCX, R11, flags inside, flags after, CS"
    SHOW [system_rcx]
    mov rax, [system_r11]
    and eax, 0xcff
    call print_number
    SHOW [system_flags]
    SHOW [abs USER_DATA_PAGE]
    ENDTEST
    TEST "SYSRET to an address that is not canonical"
    mov rcx, 0x800000000000
    mov r11d, 2
    o64 sysret
    ENDTEST
    TEST "SWAPGS"
    mov ecx, 0xc0000102
    mov eax, 0x1234
    xor edx, edx
    wrmsr
    swapgs
    mov ecx, 0xc0000101
    rdmsr
    call print_number
    swapgs
    rdmsr
    call print_number
    ENDTEST

; XSAVE.
    TEST "XGETBV without OSXSAVE"
    xor ecx, ecx
    xgetbv
    ENDTEST
    CR4_SET 1 << 18
    TEST "XCR0 without x87"
    xor ecx, ecx
    xor edx, edx
    mov eax, 6
    xsetbv
    ENDTEST
    TEST "XCR0 with AVX and without SSE"
    xor ecx, ecx
    xor edx, edx
    mov eax, 5
    xsetbv
    ENDTEST
    TEST "AVX before XCR0 allows it"
    vmovups ymm0, ymm1
    ENDTEST
    TEST "XCR0 with x87, SSE and AVX, and the area's size"
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    xgetbv
    call print_number
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    mov eax, ebx
    call print_number
    ENDTEST
    TEST "XSAVE and XRSTOR of YMM0"
    vpcmpeqd ymm0, ymm0, ymm0
    mov eax, 7
    xor edx, edx
    xsave64 [abs SYSTEM_PAGE + 0x400]
    vzeroall
    mov eax, 4
    xrstor64 [abs SYSTEM_PAGE + 0x400]
    vextractf128 xmm1, ymm0, 1
    vmovq rax, xmm1
    call print_number
    vmovq rax, xmm0
    call print_number
    mov rax, [abs SYSTEM_PAGE + 0x600]
    and eax, 6
    call print_number
    mov eax, [abs SYSTEM_PAGE + 0x418]
    call print_number
    ENDTEST
    TEST "XRSTOR of an area with a reserved component"
    mov byte [abs SYSTEM_PAGE + 0x600], 7
    mov byte [abs SYSTEM_PAGE + 0x607], 0x40
    mov eax, 7
    xor edx, edx
    xrstor64 [abs SYSTEM_PAGE + 0x400]
    ENDTEST
    TEST "XSAVE at a place that is not aligned"
    xsave64 [abs SYSTEM_PAGE + 0x408]
    ENDTEST
    TEST "SSE with EM"
    mov rax, cr0
    or rax, 4
    mov cr0, rax
    xorps xmm0, xmm0
    ENDTEST
    mov rax, cr0
    and rax, ~4
    or rax, 8
    mov cr0, rax
    TEST "SSE with TS"
    xorps xmm0, xmm0
    ENDTEST
    TEST "x87 with TS"
    fld1
    ENDTEST
    clts
    TEST "an unmasked exception of SSE"
    mov dword [abs SYSTEM_PAGE], 0x1d00
    ldmxcsr [abs SYSTEM_PAGE]
    xorps xmm0, xmm0
    mov eax, 1
    cvtsi2ss xmm1, eax
    divss xmm1, xmm0
    ENDTEST
    mov dword [abs SYSTEM_PAGE], 0x1f80
    ldmxcsr [abs SYSTEM_PAGE]
    TEST "an unmasked exception of the x87 is raised by the next instruction"
    fninit
    mov word [abs SYSTEM_PAGE], 0x37b
    fldcw [abs SYSTEM_PAGE]
    fld1
    fldz
    fdivp
.waiting:
    fwait
    ENDTEST
    TEST "… how far"
    mov rax, [seen_rip]
    mov rcx, tests.waiting
    sub rax, rcx
    call print_number
    fninit
    ENDTEST

; Alignment checks.
    mov rax, cr0
    or rax, 1 << 18
    mov cr0, rax
    USERTEST "user reads a misaligned doubleword with AC"
    pushfq
    or dword [rsp], 1 << 18
    popfq
    mov eax, [abs USER_DATA_PAGE + 2]
    ENDUSERTEST
    TEST "a lock on what cannot be locked"
    db 0xf0, 0x90
    ENDTEST

%ifdef TRIPLE
    mov rsi, last_words
    call print
    lidt [empty_pointer]
    ud2
%endif
    mov rsi, last_words
    jmp print

; Gives what is on its way time to arrive.
settle:
    mov ecx, 2000
.wait:
    pause
    loop .wait
    ret

; The old timer counts to its end once.
start_pit:
    mov al, 0x30
    out 0x43, al
    mov al, 0x00
    out 0x40, al
    mov al, 0x04
    out 0x40, al
    ret

system_call:
    mov [system_rcx], rcx
    mov [system_r11], r11
    pushfq
    pop qword [system_flags]
    o64 sysret

%include "device.inc"

last_words: db "end", 10, 0

align 16
file_end:
absolute file_end
idt: resb 256 * 16
tss: resb 104
seen_vector: resq 1
seen_error: resq 1
seen_rip: resq 1
seen_cs: resq 1
seen_flags: resq 1
seen_frame: resq 1
seen_cr2: resq 1
seen_dr6: resq 1
recovery: resq 1
recovery_rsp: resq 1
interrupts: resq 1
interrupt_rip: resq 1
last_interrupt: resq 1
system_rcx: resq 1
system_r11: resq 1
system_flags: resq 1
function: resd 1
common_area: resq 1
notify_area: resq 1
message_table: resq 1
pending_bits: resq 1
message_capability: resd 1
alignb 4096
queue_area: resb 4096
random_bytes: resb 64
memory_end:
