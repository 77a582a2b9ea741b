; Loading segment registers, limits, types. Intel SDM vol. 3 §3.4, §5.2–5.6 (edition 085); vol. 2 "MOV", "POP", "LDS".
; mode: protected32
%include "guest.inc"
bits 32

%macro load 2           ; register, selector
  mov ax, %2
  attempt mov %1, ax
%endmacro
%macro set_free 1       ; a descriptor into the slot FREE
  store8 gdt + FREE, %1
%endmacro
FREE_RIGHTS equ gdt + FREE + 5
FLAT_RIGHTS equ RIGHTS_DATA | BIG | GRANULAR

; Null is fine for data segments, until they are used. SS refuses it.
; mode: protected32 | pae32 | compat32
; events: #GP(0)@.use, #GP(0)
; expect: ds=FLAT, fs=3
null_selector:
  mov ax, 3
  mov fs, ax
  resume_at .next
.use:
  mov eax, [fs:DATA]
.next:
  load ss, 0
  done

; Outside of the table; wrong types; not present (SS: #SS).
; mode: protected32 | pae32 | compat32
; events: #GP(BEYOND), #GP(BEYOND+4), #GP(TSS), #GP(EXECUTE_ONLY), #NP(ABSENT_DATA), #NP(ABSENT_CODE),
;    #SS(ABSENT_DATA), #GP(READ_ONLY), #GP(CODE32), #GP(BEYOND), #GP(TSS)
; expect: es=FLAT, ss=FLAT
load_refused:
  load es, BEYOND
  load es, BEYOND | 4
  load es, TSS
  load es, EXECUTE_ONLY
  load es, ABSENT_DATA
  load es, ABSENT_CODE
  load ss, ABSENT_DATA
  load ss, READ_ONLY
  load ss, CODE32
  load ss, BEYOND
  load ss, TSS
  done

; Readable code, read-only data, and from CPL 0 anything's DPL for data.
; mode: protected32 | compat32
; expect: es=CODE32, fs=READ_ONLY, gs=RING2_DATA, ds=USER_DATA, edx=CONFORMING32|3
load_accepted:
  load es, CONFORMING32 | 3
  mov edx, es
  load es, CODE32
  load fs, READ_ONLY
  load gs, RING2_DATA
  load ds, USER_DATA
  done

; Privilege: data needs DPL >= max(CPL, RPL); conforming code does not care; SS needs all equal.
; events: #GP(FLAT), #GP(FLAT), #GP(RING2_DATA-2), #GP(FLAT), #GP(USER_DATA-3), #GP(RING2_DATA-2), #GP(FLAT), int(0x80)
; expect: fs=CONFORMING32, gs=USER_DATA-3
privilege:
  load es, FLAT | 3                             ; RPL 3 to DPL 0
  load es, FLAT | 1
  load es, RING2_DATA | 3
  enter_user .user
.user:
  load es, FLAT
  load ss, USER_DATA & ~3
  load es, RING2_DATA & ~3
  load ss, FLAT | 3
  mov ax, CONFORMING32
  mov fs, ax
  mov ax, USER_DATA & ~3
  mov gs, ax
  int 0x80

; MOV to CS does not exist; segment registers 6 and 7 neither.
; mode: protected32 | compat32
; events: #UD, #UD, #UD
no_such_segment:
  attempt db 0x8e, 0xc8
  attempt db 0x8e, 0xf0
  attempt db 0x8c, 0xf8
  done

; The accessed bit is set in the table (except for what already has it).
; expect: byte[FREE_RIGHTS]=0x93, es=FREE
accessed_bit:
  set_free DESCRIPTOR(0, 0xfffff, (RIGHTS_DATA & ~1) | BIG | GRANULAR)
  load es, FREE
  done

; Not by the instructions that only ask.
; expect: byte[FREE_RIGHTS]=0x92
accessed_bit_not_by_lar:
  set_free DESCRIPTOR(0, 0xfffff, (RIGHTS_DATA & ~1) | BIG | GRANULAR)
  mov ax, FREE
  lar ebx, ax
  lsl ebx, ax
  verr ax
  done

; ---- limits ----

; Byte granular: the last byte is reached, not the one behind; wide accesses must fit whole.
; mode: protected32 | compat32
; events: #GP(0) x4
; expect: ebx=0x11
byte_limit:
  mov byte [DATA + 0x1ff], 0x11
  set_free DESCRIPTOR(DATA, 0x1ff, RIGHTS_DATA | BIG)
  load fs, FREE
  mov bl, [fs:0x1ff]
  attempt mov al, [fs:0x200]
  attempt mov ax, [fs:0x1ff]
  attempt mov [fs:0x1fd], eax
  attempt mov al, [fs:0xffffffff]
  mov eax, [fs:0x1fc]
  done

; Page granular: limit 1 reaches to 1FFFH.
; events: #GP(0), #GP(0)
page_limit:
  set_free DESCRIPTOR(DATA, 1, RIGHTS_DATA | BIG | GRANULAR)
  load fs, FREE
  mov eax, [fs:0x1ffc]
  attempt mov al, [fs:0x2000]
  attempt mov eax, [fs:0x1ffd]
  done

; Expand down: above the limit, up to FFFFH or 4 GiB by B.
; events: #GP(0), #GP(0), #GP(0), #GP(0), #GP(0)
expand_down:
  set_free DESCRIPTOR(0, 0x1fff, RIGHTS_DATA | 4)
  load fs, FREE
  mov eax, [fs:0x2000]
  attempt mov al, [fs:0x1fff]
  attempt mov eax, [fs:0x1ffd]
  mov eax, [fs:0xfffc]
  attempt mov al, [fs:0x10000]
  set_free DESCRIPTOR(0, 0x1fff, RIGHTS_DATA | 4 | BIG)
  load fs, FREE
  mov eax, [fs:DATA]
  attempt mov al, [fs:0x1fff]
  attempt mov [fs:0], al
  done

; Expand down with G: the limit counts in pages and is exceeded from the next page on.
; events: #GP(0)
expand_down_pages:
  set_free DESCRIPTOR(0, 1, RIGHTS_DATA | 4 | BIG | GRANULAR)
  load fs, FREE
  mov eax, [fs:0x2000]
  attempt mov eax, [fs:0x1ffc]
  done

; A 4 GiB segment's accesses do not run over the top.
; events: #GP(0)@.over
no_wrap_at_the_top:
  set_free DESCRIPTOR(0, 0xffffe, RIGHTS_DATA | BIG | GRANULAR)
  load fs, FREE
  resume_at .end
.over:
  mov eax, [fs:0xfffffffe]
.end:
  done

; Types: writing read-only data and code, reading execute-only code.
; events: #GP(0) x4
; expect: ebx=0xee
types:
  mov dword [DATA], 0xee
  load fs, READ_ONLY
  mov ebx, [fs:DATA]
  attempt mov [fs:DATA], eax
  attempt lock inc dword [fs:DATA]
  attempt mov [cs:DATA], eax
  jmp EXECUTE_ONLY:.execute_only
.execute_only:
  attempt mov eax, [cs:DATA]
  mov ecx, [DATA]
  done

; The stack segment's own fault is #SS.
; events: #SS(0), #SS(0), #SS(0), #SS(0)
; expect: esp=KERNEL_STACK
stack_limit:
  set_free DESCRIPTOR(0, KERNEL_STACK - 1, RIGHTS_DATA | BIG)
  load ss, FREE
  mov esp, KERNEL_STACK
  attempt pop eax
  attempt mov eax, [ss:KERNEL_STACK - 2]
  mov ebp, KERNEL_STACK
  attempt mov eax, [ebp]
  mov ecx, KERNEL_STACK
  attempt mov eax, [esp + 1 - 1]
  done

; A code segment's limit: running over it, and jumping beyond it.
; events: #GP(0), #GP(0)@.last
code_limit:
  store_segment gdt + FREE, 0, .last - 1, RIGHTS_CODE | BIG
  jmp FREE:.inside
.inside:
  attempt jmp .last + 0x100
  resume_at .back
  jmp .end
.back:
  done
.end:
  nop
.last:
  nop

; ---- 16-bit addressing in 32-bit code ----

; Effective addresses wrap at 64 KiB with 16-bit addressing; the access itself does not.
; mode: protected32 | compat32
; events: #GP(0)
; expect: ebx=0x44
address_size_wrap:
  mov byte [DATA], 0x44
  set_free DESCRIPTOR(DATA - 1, 0xffff, RIGHTS_DATA | BIG)
  load fs, FREE
  mov bx, 0xffff
  mov si, 2
  movzx ebx, byte [fs:bx + si]
  mov bp, 0xffff
  attempt mov ax, [fs:bp]
  movzx ebx, byte [fs:1]
  done

; With SS.B = 0 only SP moves and wraps, the upper half of ESP stays. A word at FFFFH does not wrap.
; events: #SS(0)
; expect: edx=0x1234fffe, word[STACK16+0xfffe]=0x5566, ecx=0x12340000
stack_16:
  store8 gdt + FREE, DESCRIPTOR(STACK16, 0xffff, RIGHTS_DATA)
  mov ax, FREE
  mov ebx, esp
  mov ss, ax
  mov esp, 0x12340000
  push word 0x5566
  mov edx, esp
  pop ax
  mov ecx, esp
  mov esp, 0x8000
  mov ebp, 0xffff
  attempt mov ax, [bp]
  mov ax, FLAT
  mov ss, ax
  mov esp, ebx
  done
STACK16 equ 0x110000

; ---- real mode ----

; Offsets beyond FFFFH and words at FFFFH: #GP, and #SS on the stack.
; mode: real16
; events: #GP@.data, #SS@.stack, #GP@.wide
; expect: rbx=0x77
real_limits:
bits 16
  mov ax, 0x1000
  mov ds, ax
  mov byte [0xffff], 0x77
  mov bl, [0xffff]
  mov si, 0xffff
  mov dword [es:RESUME], .next
.data:
  mov ax, [si]
.next:
  mov dword [es:RESUME], .next2
  mov bp, 0xffff
.stack:
  mov ax, [bp]
.next2:
  mov dword [es:RESUME], .next3
  mov esi, 0x10000
.wide:
  mov al, [esi]
.next3:
  done
bits 32

; ---- 64-bit mode ----

; Limits and types of DS, ES, SS do not count; null SS is fine below CPL 3; FS and GS have bases.
; mode: long64
; expect: rax=0x55, rbx=0x66, ds=0, ss=0, fs=FREE, fs.base=DATA
long_mode:
bits 64
  mov dword [DATA + 8], 0x55
  mov dword [DATA + 0x400], 0x66
  store8 gdt + FREE, DESCRIPTOR(DATA, 0x1ff, RIGHTS_DATA | BIG)
  mov ax, FREE
  mov fs, ax
  mov ds, ax
  mov es, ax
  db 0x26                                       ; ES: no base, no limit
  mov eax, [DATA + 8]
  mov ebx, [fs:0x400]                           ; a base, no limit
  xor ecx, ecx
  mov ds, cx
  mov ss, cx
  push rcx
  mov [DATA + 16], rcx
  done

; mode: long64
; events: #GP(0), #GP(FLAT), #GP(CODE64), #SS(ABSENT_DATA), #NP(ABSENT_DATA), #GP(BEYOND)
long_mode_refused:
  load ss, 3                                    ; null, but RPL is not CPL
  load ss, FLAT | 3
  load ss, CODE64
  load ss, ABSENT_DATA
  load fs, ABSENT_DATA
  load gs, BEYOND
  done

; User code may not have a null SS.
; mode: long64 user
; events: #GP(0), #GP(0), #GP(FLAT), int(0x80)
long_mode_user:
  load ss, 0
  load ss, 3
  load es, FLAT
  int 0x80

; Loading a null selector keeps nothing of a base that WRMSR gave.
; mode: long64
; expect: fs.base=0x123456789000, rbx=DATA, gs.base=0
bases:
  write_msr MSR_FS_BASE, 0x123456789000
  write_msr MSR_GS_BASE, DATA
  rdmsr
  mov ebx, eax
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, RIGHTS_DATA | BIG | GRANULAR)
  mov ax, FREE
  mov gs, ax
  done

; MOV and POP of a segment register: 16 bits count, POP takes a stack slot; a push stores the selector, zero-extended.
; mode: long64
; expect: rdx=FLAT, rcx=8, fs=FLAT, rbx=0xfffffffffffffff8
push_pop:
  mov rsi, rsp
  push fs
  mov rbx, rsp
  sub rbx, rsi
  pop rdx
  push 0x7fff0000 | FLAT
  mov rdi, rsp
  pop fs
  mov rcx, rsp
  sub rcx, rdi
  done

; LSS, LFS: selector behind the offset; a refused one changes nothing.
; mode: protected32
; events: #GP(BEYOND)
; expect: esi=0x11223344, fs=USER_DATA, ebx=7
load_far_pointer:
bits 32
  mov dword [DATA], 0x11223344
  mov word [DATA + 4], USER_DATA
  lfs esi, [DATA]
  mov word [DATA + 4], BEYOND
  mov ebx, 7
  attempt lgs ebx, [DATA]
  done

; ---- LAR, LSL, VERR, VERW, ARPL ----

; ZF tells whether the selector may be asked about; the register changes only then.
%macro ask 3            ; instruction, selector, where the answer goes
  mov ecx, 0x5a5a5a5a
  mov ax, %2
  %1 ecx, ax
  mov [DATA + %3 * 8], ecx
  setz [DATA + %3 * 8 + 4]
%endmacro
REFUSED equ 0x5a5a5a5a
A0 equ DATA
A1 equ DATA + 8
A2 equ DATA + 16
A3 equ DATA + 24
A4 equ DATA + 32
A5 equ DATA + 40
A6 equ DATA + 48
A7 equ DATA + 56
A8 equ DATA + 64
A9 equ DATA + 72
YES equ 1 << 32
LAR_BITS equ 0x1fff0ffff       ; the limit's bits are undefined in the answer

; mode: protected32
; expect: qword[A0]&LAR_BITS=YES|0xc09300, qword[A1]&LAR_BITS=YES|0xc09b00, qword[A2]&LAR_BITS=YES|0x8b00, qword[A3]&LAR_BITS=YES|0x8200, qword[A4]=REFUSED,
;    qword[A5]=REFUSED, qword[A6]&LAR_BITS=YES|0xec00, qword[A7]=REFUSED, qword[A8]&LAR_BITS=YES|0xc01300, qword[A9]&LAR_BITS=YES|0x8500
lar32:
  ask lar, FLAT, 0
  ask lar, CODE32, 1
  ask lar, TSS, 2
  ask lar, LDT, 3
  ask lar, 0, 4
  ask lar, BEYOND, 5
  set_free DESCRIPTOR(0, 0, RIGHTS_CALL | DPL3)
  ask lar, FREE, 6
  set_free DESCRIPTOR(0, 0, RIGHTS_INT)
  ask lar, FREE, 7
  ask lar, ABSENT_DATA, 8
  set_free DESCRIPTOR(0, 0, RIGHTS_TASK)
  ask lar, FREE, 9
  done

; In IA-32e mode 16-bit types and task gates are none.
; mode: long64
; expect: qword[A0]&LAR_BITS=YES|0xc09300, qword[A1]&LAR_BITS=YES|0x8b00, qword[A2]&LAR_BITS=YES|0x8200, qword[A3]&LAR_BITS=YES|0x8c00, qword[A4]=REFUSED,
;    qword[A5]=REFUSED, qword[A6]=REFUSED, qword[A7]=REFUSED
lar_long:
bits 64
  ask lar, FLAT, 0
  ask lar, TSS, 1
  ask lar, LDT, 2
  mov edi, gdt + FREE + 5
  %assign slot 3
  %rep 5
    %if slot == 3
      mov byte [rdi], RIGHTS_CALL
    %elif slot == 4
      mov byte [rdi], RIGHTS_TASK
    %elif slot == 5
      mov byte [rdi], RIGHTS_CALL16
    %elif slot == 6
      mov byte [rdi], RIGHTS_TSS16
    %else
      mov byte [rdi], RIGHTS_INT
    %endif
    ask lar, FREE, slot
    %assign slot slot + 1
  %endrep
  done
bits 32

; mode: protected32
; expect: qword[A0]=YES|0xffffffff, qword[A1]=YES|TSS_LIMIT, qword[A2]=YES|LDT_LIMIT, qword[A3]=REFUSED, qword[A4]=YES|0xffff,
;    qword[A5]=YES|0x1fff, qword[A6]=REFUSED, qword[A7]=YES|0x1ff
lsl32:
  ask lsl, FLAT, 0
  ask lsl, TSS, 1
  ask lsl, LDT, 2
  set_free DESCRIPTOR(0, 0, RIGHTS_CALL)
  ask lsl, FREE, 3
  ask lsl, CODE16, 4
  set_free DESCRIPTOR(0, 1, RIGHTS_DATA | 4 | GRANULAR)
  ask lsl, FREE, 5
  ask lsl, 3, 6
  set_free DESCRIPTOR(0, 0x1ff, RIGHTS_TSS16)
  ask lsl, FREE, 7
  done

; From CPL 3: what is more privileged stays hidden, conforming code does not.
; mode: protected32 user
; events: int(0x80)
; expect: qword[A0]=REFUSED, qword[A1]&LAR_BITS=YES|0xc0f300, qword[A2]&LAR_BITS=YES|0xc09f00, qword[A3]=REFUSED, qword[A4]=REFUSED
asked_by_user:
  ask lar, FLAT, 0
  ask lar, USER_DATA & ~3, 1
  ask lar, CONFORMING32, 2
  ask lsl, CODE32, 3
  ask lsl, RING2_DATA, 4
  int 0x80

; RPL counts as CPL does.
; mode: protected32
; expect: qword[A0]=REFUSED, qword[A1]&LAR_BITS=YES|0xc0d300, qword[A2]=REFUSED
asked_with_rpl:
  ask lar, FLAT | 3, 0
  ask lar, RING2_DATA, 1
  ask lar, RING2_DATA | 3, 2
  done

%macro verify 3
  mov ax, %2
  %1 ax
  setz [DATA + %3]
%endmacro

; VERR: data, readable code; VERW: writable data. Nothing faults.
; mode: protected32 | compat32
; expect: qword[DATA]=0x0001010001000101, qword[DATA+8]=0x00000000010000
verify_access:
  verify verr, FLAT, 0
  verify verr, CODE32, 1
  verify verr, EXECUTE_ONLY, 2
  verify verr, READ_ONLY, 3
  verify verr, TSS, 4
  verify verr, CONFORMING32 | 3, 5
  verify verr, ABSENT_DATA, 6
  verify verr, FLAT | 3, 7
  verify verw, READ_ONLY, 8
  verify verw, CODE32, 9
  verify verw, FLAT, 10
  verify verw, 0, 11
  verify verw, BEYOND, 12
  verify verw, FLAT | 3, 13
  done

; mode: protected32
; expect: ebx=0xaaaa0013, ecx=0x10, edx=0x12, dword[DATA]=0x31, dword[DATA+4]=0x00010001
arpl_adjusts:
  mov ebx, 0xaaaa0010
  mov ax, 3
  arpl bx, ax
  setz [DATA + 4]
  mov ecx, 0x10
  xor eax, eax
  arpl cx, ax
  setz [DATA + 5]
  mov dword [DATA], 0x30
  mov ax, 1
  arpl [DATA], ax
  setz [DATA + 6]
  mov edx, 0x12
  mov ax, 2
  arpl dx, ax
  setz [DATA + 7]
  done

; None of these exist in real and virtual-8086 mode.
; mode: real16
; events: #UD x9
not_in_real_mode:
bits 16
  %macro system_instructions 0
    attempt lar eax, ax
    attempt lsl eax, ax
    attempt verr ax
    attempt verw ax
    attempt arpl ax, ax
    attempt sldt ax
    attempt str ax
    attempt lldt ax
    attempt ltr ax
  %endmacro
  system_instructions
  done

; mode: vm86
; events: #UD x9, #BP
not_in_vm86:
  system_instructions
  int3
bits 32

; ---- LLDT, LTR ----

; events: #GP(LDT+4), #GP(FLAT), #GP(BEYOND), #NP(FREE), #GP(0), #GP(TSS), #GP(LDT), #NP(FREE), #GP(LDT+4)
; expect: ldtr=3, tr=TSS
lldt_ltr_refused:
  %macro try_table 2
    mov ax, %2
    attempt %1 ax
  %endmacro
  try_table lldt, LDT | 4
  try_table lldt, FLAT
  try_table lldt, BEYOND
  set_free DESCRIPTOR(0, 0xff, RIGHTS_LDT & ~PRESENT)
  try_table lldt, FREE
  mov ax, 3
  lldt ax                                       ; null: no LDT
  try_table ltr, 0
  try_table ltr, TSS                            ; busy
  try_table ltr, LDT
  set_free DESCRIPTOR(0, 0xff, RIGHTS_TSS & ~PRESENT)
  try_table ltr, FREE
  try_table ltr, LDT | 4
  done

; A segment in the LDT; without an LDT every such selector is refused.
; mode: protected32 | compat32
; events: #GP(4), #GP(0x44)
; expect: ebx=0x88, fs=0xf
local_descriptors:
  mov dword [DATA], 0x88
  load fs, 4
  store8 ldt + 8, DESCRIPTOR(DATA, 0xfff, RIGHTS_DATA | BIG | DPL3)
  mov ax, LDT
  lldt ax
  load gs, 0x44                                 ; beyond its limit
  mov ax, 0xf
  mov fs, ax
  mov ebx, [fs:0]
  done

; LTR marks the descriptor busy.
; mode: protected32 | compat32
; expect: byte[FREE_RIGHTS]=0x8b, tr=FREE, rbx=FREE
ltr_busy:
  mov dword [gdt + FREE], 0xff
  mov dword [gdt + FREE + 4], RIGHTS_TSS << 8
  mov ax, FREE
  ltr ax
  xor ebx, ebx
  str ebx
  done

; System descriptors have 16 bytes in IA-32e mode; the upper half must not look like a descriptor, the base is canonical.
; mode: long64
; events: #GP(FREE), #GP(FREE), #GP(FREE)
; expect: ldtr=FREE, ldtr.base=0xffff800000000000
long_system_descriptors:
bits 64
  mov ax, FREE
  store8 gdt + FREE, DESCRIPTOR(0, 0xff, RIGHTS_LDT)
  store8 gdt + FREE + 8, 0xffff8000 | 1 << 40
  attempt lldt ax
  store8 gdt + FREE + 8, 0x00008000             ; not canonical
  attempt lldt ax
  store8 gdt + FREE, DESCRIPTOR(0, 0xff, RIGHTS_TSS)
  attempt ltr ax
  store8 gdt + FREE, DESCRIPTOR(0, 0xff, RIGHTS_LDT)
  store8 gdt + FREE + 8, 0xffff8000
  lldt ax
  done
bits 32

; No 16-bit TSS in IA-32e mode.
; mode: compat32
; events: #GP(FREE)
no_tss16:
  mov dword [gdt + FREE], 0xff
  mov dword [gdt + FREE + 4], RIGHTS_TSS16 << 8
  mov eax, FREE
  attempt ltr ax
  done

; LGDT and LIDT are privileged; LGDT needs a canonical base.
; mode: long64
; events: #GP(0), #GP(0)
; expect: gdtr.base=gdt
table_base_canonical:
bits 64
  mov rax, 0x8000000000000000
  mov [DATA + 2], rax
  attempt lgdt [DATA]
  attempt lidt [DATA]
  done

; mode: long64 user
; events: #GP(0) x4, int(0x80)
tables_user:
  attempt lgdt [DATA]
  attempt lidt [DATA]
  attempt lldt ax
  attempt ltr ax
  int 0x80
bits 32
