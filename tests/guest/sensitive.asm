; Instructions that privilege, IOPL, the I/O bitmap or CR4 rule over; MSRs. Intel SDM vol. 1 §19.5; vol. 2; vol. 3 §2.5, §5.9 (085).
; mode: long64
%include "guest.inc"
bits 64

; ---- I/O permission ----

; Every port of an access must be allowed; the byte behind the bitmap's last is read, too.
; mode: compat32 user | protected32 user | pae32 user
; events: #GP(0) x6, int(0x80)
io_bitmap:
bits 32
  mov edi, tss_io_map + LAB_REGISTERS / 8
  mov byte [edi], 0xf0                          ; 580H–583H
  mov dx, LAB_REGISTERS
  mov eax, 0x12345678
  out dx, eax
  in ax, dx
  in al, dx
  mov dx, LAB_REGISTERS + 1
  attempt out dx, eax
  attempt in eax, dx
  mov dx, LAB_REGISTERS + 3
  in al, dx
  attempt in ax, dx
  mov dx, LAB_REGISTERS + 4
  attempt in al, dx
  mov dx, 0x600                                 ; beyond the limit of the TSS
  attempt in al, dx
  mov dx, 0x5ff                                 ; the second byte is
  attempt in ax, dx
  int 0x80
bits 64

; CPL <= IOPL: the bitmap is not asked.
; mode: long64 user iopl3
; events: int(0x80)
; expect: rax=0x87654321
io_iopl:
  mov dx, LAB_REGISTERS
  mov eax, 0x87654321
  out dx, eax
  xor eax, eax
  in eax, dx
  int 0x80

; No bitmap at all: its base is beyond the limit.
; mode: long64 user
; events: #GP(0), #GP(0), #GP(0), int(0x80)
io_no_bitmap:
  mov byte [tss_io_map + LAB_REGISTERS / 8], 0
  mov word [tss + 102], 0xffff
  mov dx, LAB_REGISTERS
  attempt in al, dx
  attempt out 0x80, al
  attempt in al, 0x40
  int 0x80

; INS and OUTS ask before they touch memory.
; mode: long64 user
; events: #GP(0), #GP(0), #PF(6), #PF(4), int(0x80)
; expect: rcx=2, byte[DATA]=0x5a, byte[DATA+1]=0x5a
io_strings:
  mov byte [tss_io_map + LAB_REGISTERS / 8], 0xfe
  mov dx, LAB_REGISTERS + 1
  mov edi, UNMAPPED
  mov esi, UNMAPPED
  mov ecx, 2
  attempt rep insb
  attempt rep outsb
  mov dx, LAB_REGISTERS
  mov al, 0x5a
  out dx, al
  attempt rep insb
  attempt rep outsb
  mov edi, DATA
  mov ecx, 2
  rep insb
  mov ecx, 2
  int 0x80

; ---- IOPL ----

; mode: long64 user
; events: #GP(0), #GP(0), #GP(0), int(0x80)
; expect: e3.rflags&IF|IOPL3=0
iopl_0:
  attempt cli
  attempt sti
  push IF | IOPL3 | 2
  popfq                                         ; no fault, no change
  attempt hlt
  int 0x80

; mode: long64 user iopl3
; events: int(0x80)
; expect: e0.rflags&IF|IOPL3=IOPL3, rbx&IF=IF
iopl_3:
  sti
  pushfq
  pop rbx
  cli
  push 2
  popfq                                         ; IOPL itself needs CPL 0
  int 0x80

; 16-bit POPF leaves the upper flags; RF reads as zero from PUSHF.
; expect: rbx&AC|ID|CF|RF=AC|ID|CF, rcx&AC=AC
popf_16:
  push AC | ID | 2
  popfq
  push word CF | 2
  popfw
  pushfq
  pop rbx
  mov rcx, rbx
  done

; ---- UMIP ----

; mode: long64 user
; events: int(0x80)
; expect: word[DATA]=GDT_LIMIT, qword[DATA+2]=gdt, word[DATA+16]=0xfff, rbx=TSS, rcx&1=1
status_without_umip:
  sgdt [DATA]
  sidt [DATA + 16]
  str ebx
  smsw ecx
  sldt edx
  int 0x80

; events: #GP(0) x7, int(0x80)
; expect: rbx=0, dword[DATA]=0
status_with_umip:
  set_cr cr4, CR4_UMIP
  sgdt [DATA + 32]                              ; CPL 0 may
  enter_user .user
.user:
  attempt sgdt [DATA]
  attempt sidt [DATA]
  attempt str ebx
  attempt str [DATA]
  attempt smsw ebx
  attempt smsw [DATA]
  attempt sldt ebx
  int 0x80

; ---- time-stamp counter ----

; events: #GP(0), #GP(0), int(0x80)
time_stamp_disable:
  set_cr cr4, CR4_TSD
  rdtsc
  rdtscp
  enter_user .user
.user:
  attempt rdtsc
  attempt rdtscp
  int 0x80

; mode: long64 user
; events: int(0x80)
; expect: rbx=1
time_stamp_user:
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov rsi, rax
  rdtscp
  shl rdx, 32
  or rax, rdx
  xor ebx, ebx
  cmp rsi, rax
  setbe bl
  int 0x80

; RDTSCP gives TSC_AUX.
; expect: rcx=0x89abcdef
processor_id:
  write_msr 0xc0000103, 0x89abcdef
  rdtscp
  done

; WRMSR of the TSC, and TSC_ADJUST along with it.
; expect: rbx=1, rsi=1
time_stamp_written:
  mov ecx, 0x10
  xor eax, eax
  mov edx, 0x1000
  wrmsr
  rdtsc
  xor ebx, ebx
  cmp edx, 0x1000
  sete bl
  mov ecx, 0x3b
  rdmsr
  xor esi, esi
  cmp edx, 0xfff
  setae sil
  done

; Performance counters: none.
; events: #GP(0)@.kernel, #GP(0)
performance_counters:
  resume_at .next
  xor ecx, ecx
.kernel:
  rdpmc
.next:
  enter_user .user
.user:
  rdpmc

; ---- FSGSBASE ----

; events: #UD x4
fsgsbase_disabled:
  attempt rdfsbase rax
  attempt rdgsbase eax
  attempt wrfsbase rax
  attempt wrgsbase eax
  done

; 32-bit forms zero the upper half; a base that is not canonical is refused. User code may.
; events: #GP(0), #GP(0), int(0x80)
; expect: rbx=0x123456789000, rcx=0x9abcdef0, rdx=0x56789000, fs.base=0x123456789000, gs.base=0x9abcdef0
fsgsbase:
  set_cr cr4, CR4_FSGSBASE
  enter_user .user
.user:
  mov rax, 0x123456789000
  wrfsbase rax
  rdfsbase rbx
  rdfsbase edx
  mov rax, 0x123456789abcdef0
  wrgsbase eax
  rdgsbase rcx
  mov rax, 0x0000800000000000
  attempt wrfsbase rax
  attempt wrgsbase rax
  int 0x80

; mode: compat32
; events: #UD
fsgsbase_compatibility:
bits 32
  set_cr cr4, CR4_FSGSBASE
  attempt db 0xf3, 0x0f, 0xae, 0xc0
  done
bits 64

; ---- CPUID ----

; It never faults; CR4.OSXSAVE shows; MONITOR and VMX do not exist.
; mode: long64 user
; events: #UD, #UD, #UD, #UD, int(0x80)
; expect: rsi=0, rdi=0x756e6547
processor_identification:
  mov eax, 1
  cpuid
  mov esi, ecx
  and esi, 1 << 27 | 1 << 3 | 1 << 5
  xor eax, eax
  cpuid
  mov edi, ebx
  attempt db 0x0f, 0x01, 0xc8                   ; MONITOR
  attempt db 0x0f, 0x01, 0xc9                   ; MWAIT
  attempt db 0x0f, 0x01, 0xc1                   ; VMCALL
  attempt db 0x0f, 0xaa                         ; RSM
  int 0x80

; expect: rsi=1
osxsave_shows:
  set_cr cr4, CR4_OSXSAVE
  mov eax, 1
  cpuid
  shr ecx, 27
  and ecx, 1
  mov esi, ecx
  done

; ---- MSRs ----

; mode: long64 user
; events: #GP(0), #GP(0), int(0x80)
msr_user:
  mov ecx, MSR_EFER
  attempt rdmsr
  attempt wrmsr
  int 0x80

; Unknown ones, in all ranges.
; events: #GP(0) x7
; expect: rax=0x55, rdx=0x66
msr_unknown:
  mov eax, 0x55
  mov edx, 0x66
  %macro try_read 1
    mov ecx, %1
    attempt rdmsr
  %endmacro
  try_read 0x2
  try_read 0x150
  try_read 0x12345678
  try_read 0xc0000105
  try_read 0xc0010015
  try_read 0xffffffff
  mov ecx, 0x12345678
  attempt wrmsr
  done

; Upper halves of RCX do not matter, of RAX and RDX neither.
; expect: kernel_gs_base=0x334455667788, rbx=0x334455667788
msr_operands:
  mov rcx, 0x5555555500000000 | 0xc0000102
  mov rax, 0x7777777755667788
  mov rdx, 0x7777777700003344
  wrmsr
  rdmsr
  mov rbx, rdx
  shl rbx, 32
  or rbx, rax
  done

; Addresses must be canonical.
; events: #GP(0) x7
; expect: fs.base=0, rbx=0
msr_canonical:
  mov eax, 0
  mov edx, 0x8000
  %macro try_write 1
    mov ecx, %1
    attempt wrmsr
  %endmacro
  try_write MSR_FS_BASE
  try_write MSR_GS_BASE
  try_write MSR_KERNEL_GS_BASE
  try_write MSR_LSTAR
  try_write 0xc0000083
  try_write MSR_SYSENTER_EIP
  try_write MSR_SYSENTER_ESP
  done

; Reserved bits, bad memory types, read-only registers.
; events: #GP(0) x8
msr_values:
  %macro try_value 3
    mov ecx, %1
    mov eax, %2
    mov edx, %3
    attempt wrmsr
  %endmacro
  try_value 0x277, 2, 0                         ; PAT: type 2
  try_value 0x277, 0, 0x08000000
  try_value 0x2ff, 2, 0                         ; MTRR_DEF_TYPE
  try_value 0x200, 0, 0x100                     ; MTRR_PHYSBASE0: beyond 40 bits
  try_value 0x1b, 0xfee00200, 0                 ; APIC_BASE: reserved
  try_value 0xfe, 0, 0                          ; MTRRCAP
  try_value 0x10a, 0, 0                         ; ARCH_CAPABILITIES
  try_value 0xc0000103, 0, 1                    ; TSC_AUX
  done

; What is written is read.
; expect: rbx=0x0007040600070401, rsi=0x23001000000000
msr_read_back:
  mov ecx, 0x277
  mov eax, 0x00070401
  mov edx, 0x00070406
  wrmsr
  xor eax, eax
  xor edx, edx
  rdmsr
  mov rbx, rdx
  shl rbx, 32
  or rbx, rax
  write_msr MSR_STAR, 0x23001000000000
  rdmsr
  mov rsi, rdx
  shl rsi, 32
  or rsi, rax
  done

; ---- XSETBV, XGETBV ----

; events: #UD, #UD
xcr_disabled:
  xor ecx, ecx
  attempt xgetbv
  attempt xsetbv
  done

; Bit 0 always; known bits only; XCR0 only.
; events: #GP(0) x6
; expect: rbx=3, rsi=1
xcr:
  set_cr cr4, CR4_OSXSAVE
  xor ecx, ecx
  xor edx, edx
  mov eax, 3
  xsetbv
  xgetbv
  mov ebx, eax
  mov eax, 1
  xsetbv
  xgetbv
  mov esi, eax
  mov eax, 2
  attempt xsetbv
  mov eax, 0x80000001
  attempt xsetbv
  mov eax, 3
  mov edx, 1
  attempt xsetbv
  mov ecx, 5
  xor edx, edx
  attempt xsetbv
  attempt xgetbv
  enter_user .user
.user:
  xor ecx, ecx
  xgetbv
  xsetbv
