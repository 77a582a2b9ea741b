; CR0, CR2, CR3, CR4, CR8, EFER: consistency, reserved bits, privilege. Intel SDM vol. 2 "MOV—Move to/from Control Registers",
; vol. 3 §2.5, §4.1, §10.8.5 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

%macro try_cr 2         ; register, value
  mov rax, %2
  attempt mov %1, rax
%endmacro
%macro try_cr32 2
  mov eax, %2
  attempt mov %1, eax
%endmacro
GOOD_CR0 equ CR0_PG | CR0_WP | CR0_NE | CR0_PE | 0x10
GOOD_CR4 equ CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PAE

; PG without PE; NW without CD; paging off in 64-bit code; bits 32 and up.
; events: #GP(0) x5
; expect: cr0=GOOD_CR0
cr0_refused:
  try_cr cr0, GOOD_CR0 & ~CR0_PE
  try_cr cr0, GOOD_CR0 | CR0_NW
  try_cr cr0, GOOD_CR0 & ~CR0_PG
  try_cr cr0, GOOD_CR0 | 1 << 32
  try_cr cr0, GOOD_CR0 | 1 << 63
  done

; Undefined bits below 32 are ignored; ET reads as one.
; expect: rbx=GOOD_CR0|CR0_CD|CR0_NW|CR0_AM|CR0_MP|CR0_TS, rcx=GOOD_CR0
cr0_written:
  mov rax, GOOD_CR0 & ~0x10 | CR0_CD | CR0_NW | CR0_AM | CR0_MP | CR0_TS | 0x40 | 1 << 17
  mov cr0, rax
  mov rbx, cr0
  mov rax, GOOD_CR0
  mov cr0, rax
  mov rcx, cr0
  done

; Reserved bits, features that CPUID does not have, PAE in long mode.
; events: #GP(0) x8
; expect: cr4=GOOD_CR4
cr4_refused:
  try_cr cr4, GOOD_CR4 & ~CR4_PAE
  try_cr cr4, GOOD_CR4 | 1 << 12                ; LA57
  try_cr cr4, GOOD_CR4 | 1 << 13                ; VMXE
  try_cr cr4, GOOD_CR4 | 1 << 15
  try_cr cr4, GOOD_CR4 | 1 << 19
  try_cr cr4, GOOD_CR4 | 1 << 31
  try_cr cr4, GOOD_CR4 | 1 << 32
  try_cr cr4, GOOD_CR4 | 1 << 63
  done

; events: #GP(0) x3
; expect: cr3=PAGING, rbx=PAGING|0xfff
cr3_values:
  try_cr cr3, PAGING | 1 << 40
  try_cr cr3, PAGING | 1 << 51
  try_cr cr3, PAGING | 1 << 63
  try_cr cr3, PAGING | 0xfff                    ; without PCIDE these bits are ignored
  mov rbx, cr3
  try_cr cr3, PAGING
  done

; All 64 bits, whatever they are.
; expect: cr2=0x8000000000000001, rbx=0x8000000000000001
cr2_value:
  mov rax, 0x8000000000000001
  mov cr2, rax
  mov rbx, cr2
  done

; CR8 is the task priority; other numbers do not exist.
; events: #GP(0), #GP(0), #UD, #UD, #UD, #UD
; expect: rbx=5, rcx=0x50
task_priority_register:
  try_cr cr8, 16
  try_cr cr8, 1 << 32
  mov eax, 5
  mov cr8, rax
  mov rbx, cr8
  mov edi, APIC + APIC_TPR
  mov ecx, [rdi]
  attempt db 0x0f, 0x20, 0xc8                   ; mov rax, cr1
  attempt db 0x0f, 0x22, 0xc8
  attempt db 0x0f, 0x20, 0xe8                   ; cr5
  attempt db 0x44, 0x0f, 0x22, 0xc8             ; cr9
  done

; The ModRM byte's mode does not matter: a register is meant.
; expect: rbx=GOOD_CR0
cr_modrm_memory_form:
  db 0x0f, 0x20, 0x03                           ; mov rbx, cr0 with mod = 0
  done

; mode: long64 user
; events: #GP(0) x11, int(0x80)
privileged_user:
  attempt mov rax, cr0
  attempt mov cr0, rax
  attempt mov rax, cr2
  attempt mov cr3, rax
  attempt mov rax, cr4
  attempt mov rax, cr8
  attempt mov cr8, rax
  attempt clts
  attempt lmsw ax
  attempt wbinvd
  attempt invd
  int 0x80

; LMSW sets PE, MP, EM, TS; it cannot clear PE. SMSW reads all of CR0 into a register, 16 bits into memory.
; expect: rbx=GOOD_CR0|CR0_MP|CR0_TS, rcx=0x1111ffffffff003b, rdx=GOOD_CR0, dword[DATA]=0xffff003b, rsi=0xffffffffffff003b
lmsw_smsw:
  mov ax, CR0_MP | CR0_TS
  lmsw ax
  mov rbx, cr0
  mov dword [DATA], -1
  smsw [DATA]
  mov rcx, 0x1111ffffffffffff
  smsw cx
  mov rsi, -1
  smsw si
  xor eax, eax
  lmsw ax
  smsw rdx
  done

; expect: rbx=GOOD_CR0
clear_task_switched:
  set_cr cr0, CR0_TS
  db 0x0f, 0x06
  mov rbx, cr0
  done

; ---- EFER ----

; events: #GP(0) x5
; expect: efer=EFER_LMA|EFER_LME|EFER_NXE|EFER_SCE
efer_refused:
  %macro try_efer 1
    mov eax, (%1) & 0xffffffff
    mov edx, (%1) >> 32
    attempt wrmsr
  %endmacro
  mov ecx, MSR_EFER
  try_efer EFER_NXE | EFER_SCE                  ; LME while paging is on
  try_efer EFER_LME | EFER_NXE | EFER_SCE | 2
  try_efer EFER_LME | EFER_NXE | EFER_SCE | 1 << 12
  try_efer EFER_LME | EFER_NXE | EFER_SCE | 1 << 32
  try_efer EFER_LME | EFER_NXE | EFER_SCE | 1 << 63
  done

; LMA cannot be written.
; expect: rbx=EFER_LMA|EFER_LME
efer_lma:
  write_msr MSR_EFER, EFER_LME
  rdmsr
  mov ebx, eax
  done

; ---- into and out of long mode ----

; Paging with LME needs PAE, and a code segment that is not 64-bit.
; mode: protected32
; events: #GP(0), #GP(0)
; expect: cr0&CR0_PG=0, efer=EFER_LME
long_mode_needs:
bits 32
  write_msr MSR_EFER, EFER_LME
  mov eax, PAGING
  mov cr3, eax
  try_cr32 cr0, GOOD_CR0
  set_cr cr4, CR4_PAE
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, RIGHTS_CODE | CODE_LONG | GRANULAR)
  jmp FREE:.with_l                              ; L means nothing here yet: 16-bit code
bits 16
.with_l:
  mov eax, GOOD_CR0
  resume_at .refused
  mov cr0, eax
bits 32
.refused:
  done

; Out of it: compatibility mode, paging off; LMA goes with it. PAE can go then.
; mode: compat32
; expect: efer=EFER_LME|EFER_NXE|EFER_SCE, cr0=GOOD_CR0-CR0_PG, cr4&CR4_PAE=0, ebx=0x51
leave_long_mode:
  clear_cr cr0, CR0_PG
  clear_cr cr4, CR4_PAE
  mov dword [DATA], 0x51
  mov ebx, [DATA]
  done

; mode: compat32
; events: #GP(0)
pae_stays_in_long_mode:
  try_cr32 cr4, CR4_OSFXSR
  done

; With PCIDE paging cannot be turned off; PCIDE is for long mode.
; mode: compat32
; events: #GP(0)
; expect: cr0=GOOD_CR0
paging_with_pcid:
  set_cr cr4, CR4_PCIDE
  try_cr32 cr0, GOOD_CR0 & ~CR0_PG
  done

; mode: protected32 | pae32
; events: #GP(0)
pcid_outside_long_mode:
  mov eax, cr4
  or eax, CR4_PCIDE
  attempt mov cr4, eax
  done

; ---- real mode ----

; mode: real16
; events: #GP@.cr0, #GP@.cr4
bits 16
real_mode_checks:
  mov eax, CR0_PG | 0x10
  resume_at .second
.cr0:
  mov cr0, eax
.second:
  mov eax, 1 << 13
  resume_at .end
.cr4:
  mov cr4, eax
.end:
  done

; To protected mode and back; the segments keep their bases until they are loaded.
; mode: real16
; expect: rbx=0x1234, rcx=0x5678, cs=0, cr0&CR0_PE=0
protected_and_back:
  mov dword [DATA - 0x10000 + 0x7800], 0x1234
  lgdt [gdt_pointer]
  mov eax, cr0
  or al, CR0_PE
  mov cr0, eax
  mov bx, [0x7800]                              ; DS still has its real-mode base
  jmp CODE16:.protected
.protected:
  mov ax, FLAT
  mov fs, ax
  mov dword [fs:dword DATA], 0x5678
  mov eax, cr0
  and al, ~CR0_PE
  mov cr0, eax
  jmp 0:.real
.real:
  mov ecx, [fs:dword DATA]                      ; "unreal" mode: FS keeps its 4 GiB limit
  done

; Far pointers and SGDT in real mode load 24 bits of the base with 16-bit operands, 32 with 32-bit ones.
; mode: real16
; expect: word[DATA]=0x1234, gdtr.base=0x563412, gdtr.limit=0x1234, dword[0x7812]=0x563412
lgdt_16:
  mov word [0x7800], 0x1234
  mov dword [0x7802], 0x78563412
  lgdt [0x7800]
  sgdt [0x7810]
  mov ax, 0x1000
  mov ds, ax
  mov word [0], 0x1234
  done
