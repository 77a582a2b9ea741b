; Far transfers, IRET, SYSCALL, SYSENTER and SWAPGS in IA-32e mode. Intel SDM vol. 3 §5.8, §6.14; vol. 2 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

; A 16-byte call gate in the slots FREE and FREE + 8.
%macro set_gate 2-3 0           ; selector, label, rights beside those of a gate
  store_gate gdt + FREE, %1, %2, RIGHTS_CALL | %3
  store8 gdt + FREE + 8, 0
%endmacro
%macro call_far 1
  mov word [DATA + 0x108], %1
  call far dword [DATA + 0x100]
%endmacro
; Pointer in memory: 4-byte offset, selector.
%macro pointer 2
  mov dword [DATA + 0x100], %1
  mov word [DATA + 0x104], %2
%endmacro

; ---- direct and indirect ----

; The direct forms do not exist in 64-bit mode.
; events: #UD, #UD
no_direct_far:
  attempt db 0xea, 0, 0, 0, 0, CODE32, 0
  attempt db 0x9a, 0, 0, 0, 0, CODE32, 0
  done

; m16:32 and m16:64.
; events: int(0x80)
; expect: rax=1, rbx=2, e0.cs=CODE32, rsi=CODE64
far_jump:
  pointer .first, CODE64
  jmp far dword [DATA + 0x100]
.first:
  mov eax, 1
  mov esi, cs
  mov qword [DATA + 0x110], .second
  mov word [DATA + 0x118], CODE64
  jmp far qword [DATA + 0x110]
.second:
  mov ebx, 2
  pointer .narrow, CODE32
  jmp far dword [DATA + 0x100]
bits 32
.narrow:
  int 0x80
bits 64

; L and D both set is no code segment; a 64-bit target must be canonical.
; events: #GP(FREE), #GP(0), #GP(FLAT), #GP(0)
far_jump_refused:
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, RIGHTS_CODE | CODE_LONG | BIG | GRANULAR)
  pointer .end, FREE
  attempt jmp far dword [DATA + 0x100]
  mov rax, 0x0000800000000000
  mov [DATA + 0x110], rax
  mov word [DATA + 0x118], CODE64
  attempt db 0x48, 0xff, 0x2c, 0x25, 0x10, 0x01, 0x01, 0x00     ; jmp far m16:64 [0x10110]
  pointer .end, FLAT
  attempt jmp far dword [DATA + 0x100]
  pointer .end, 0
  attempt jmp far dword [DATA + 0x100]
.end:
  done

; A far call's operand size is 32 bits unless REX.W says 64.
; expect: rax=.back32, rbx=CODE64, rcx=.back64, rdx=CODE64
far_call:
  pointer .callee32, CODE64
  call far dword [DATA + 0x100]
.back32:
  mov qword [DATA + 0x110], .callee64
  mov word [DATA + 0x118], CODE64
  call far qword [DATA + 0x110]
.back64:
  done
.callee32:
  mov eax, [rsp]
  mov ebx, [rsp + 4]
  retf
.callee64:
  mov rcx, [rsp]
  mov rdx, [rsp + 8]
  o64 retf

; Compatibility mode and back; the upper halves of registers stay.
; expect: rax=0x1122334455667788, rbx=0x99
compatibility_and_back:
  mov rax, 0x1122334455667788
  pointer .narrow, CODE32
  call far dword [DATA + 0x100]
  done
bits 32
.narrow:
  mov ebx, 0x99
  retf
bits 64

; ---- call gates ----

; Inward: SS (null, RPL = the new level), RSP from the TSS; SS, RSP, CS, RIP in 8 bytes each. Parameters are not copied.
; events: int(0x80)
; expect: qword[DATA]=.back, qword[DATA+8]=USER_CODE64, qword[DATA+16]=USER_STACK-8, qword[DATA+24]=USER_DATA,
;    qword[DATA+32]=INNER_STACK-32, qword[DATA+40]=0, qword[DATA+48]=CODE64, e0.rsp=USER_STACK-8, e0.cs=USER_CODE64, e0.ss=USER_DATA
call_gate:
%assign GATE_COUNT 1
  set_gate CODE64, .inner, DPL3
%assign GATE_COUNT 0
  pointer 0x1234, FREE | 3
  enter_user .user
.user:
  push 0x11
  call far dword [DATA + 0x100]
.back:
  int 0x80
.inner:
  mov [DATA + 32], rsp
  mov esi, esp
  mov edi, DATA
  mov ecx, 4
  rep movsq
  mov eax, ss
  mov [DATA + 40], rax
  mov eax, cs
  mov [DATA + 48], rax
  o64 retf

; The same from compatibility mode.
; mode: compat32 user
; events: int(0x80)
; expect: qword[DATA]=.back, qword[DATA+8]=USER_CODE32, qword[DATA+16]=USER_STACK, qword[DATA+24]=USER_DATA, e0.cs=USER_CODE32,
;    e0.rsp=USER_STACK
call_gate_compatibility:
bits 32
  store_gate gdt + FREE, CODE64, .inner, RIGHTS_CALL | DPL3
  store8 gdt + FREE + 8, 0
  call (FREE | 3):0
.back:
  int 0x80
bits 64
.inner:
  mov esi, esp
  mov edi, DATA
  mov ecx, 4
  rep movsq
  o64 retf

; No 16-bit gates; the upper half must not look like a descriptor; the target is 64-bit code; offsets are canonical.
; events: #GP(FREE), #GP(FREE), #GP(CODE32), #GP(0), #NP(FREE), #GP(FREE), #GP(FLAT)
call_gate_refused:
  pointer 0, FREE
  %macro try_call 0
    attempt call far dword [DATA + 0x100]
  %endmacro
  store_gate gdt + FREE, CODE64, .end, RIGHTS_CALL16
  try_call
  set_gate CODE64, .end
  mov dword [gdt + FREE + 12], 0x100
  try_call
  set_gate CODE32, .end
  try_call
  set_gate CODE64, .end
  mov dword [gdt + FREE + 8], 0x00008000
  try_call
  store_gate gdt + FREE, CODE64, .end, RIGHTS_CALL & ~PRESENT
  mov dword [gdt + FREE + 8], 0
  try_call
  set_gate CODE64, .end
  pointer 0, FREE | 1                           ; RPL above the gate's DPL
  try_call
  pointer 0, FREE
  set_gate FLAT, .end
  try_call
.end:
  done

; ---- IRET ----

; Always SS:RSP, also at the same level; a null SS is good below CPL 3.
; expect: rsp=0x3800, ss=0, rax=0x66
iret_same_level:
  push 0
  push 0x3800
  push 2
  push CODE64
  push .there
  iretq
.there:
  mov eax, 0x66
  done

; events: #GP(0), #GP(0), #GP(0), #GP(FLAT), #GP(USER_CODE64-3), #GP(0)
iret_refused:
  mov rbx, rsp
  %macro try_iret 3-4 2         ; RIP, CS, SS, flags
    push %3
    push USER_STACK
    push %4
    push %2
    push %1
    attempt iretq
    mov rsp, rbx
  %endmacro
  mov rcx, 0x0000800000000000
  try_iret rcx, CODE64, FLAT                    ; not canonical
  try_iret .end, USER_CODE64, 0                 ; null SS for CPL 3
  try_iret .end, 0, 0
  try_iret .end, USER_CODE64, FLAT
  try_iret .end, USER_CODE64 & ~3, FLAT         ; RPL 0, DPL 3
  push NT | 2
  popfq
  try_iret .end, CODE64, FLAT                   ; nested task
.end:
  done

; To compatibility mode at CPL 3; RSP is loaded with 64 bits from the frame, code uses 32.
; events: int(0x80)
; expect: e0.cs=USER_CODE32, e0.rsp=USER_STACK-4, rax=4
iret_to_compatibility:
  push USER_DATA
  push USER_STACK
  push 2
  push USER_CODE32
  push .user
  iretq
bits 32
.user:
  mov ecx, esp
  push eax
  mov eax, ecx
  sub eax, esp
  int 0x80
bits 64

; IF and IOPL as in protected mode.
; mode: long64 user
; events: int(0x80)
; expect: e0.rflags=AC|ID|2
iret_user_flags:
  mov rax, rsp
  push USER_DATA
  push rax
  push IF | IOPL3 | AC | ID | 2
  push USER_CODE64
  push .there
  iretq
.there:
  int 0x80

; ---- stacks of handlers ----

; The frame is aligned to 16 bytes, whatever RSP was.
; events: int(0x80), #GP(0)
; expect: e0.rsp=KERNEL_STACK-3, e0.frame=KERNEL_STACK-0x38, e1.frame=KERNEL_STACK-0x40
frame_alignment:
  go_on
  mov rsp, KERNEL_STACK - 3
  int 0x80
  mov rdx, 1 << 63
  attempt mov [rdx], al
  done

; The interrupt stack table, also without a change of privilege; SS stays then.
; events: int(0x80), #UD
; expect: e0.frame=IST2_STACK-40, e0.rsp=KERNEL_STACK, e0.handler_ss=FLAT, e1.frame=IST2_STACK-40, e1.handler_ss=0, e1.rsp=USER_STACK
interrupt_stack_table:
  mov byte [IDT + 0x80 * 16 + 4], 2
  mov byte [IDT + 6 * 16 + 4], 2
  go_on
  int 0x80
  stop_at_next
  enter_user .user
.user:
  ud2

; A stack pointer in the TSS that is not canonical: #SS.
; mode: long64 user
; events: #SS(0)@.call
; expect: e0.rsp=USER_STACK, e0.cs=USER_CODE64, e0.frame=IST2_STACK-48
inner_stack_not_canonical:
  mov byte [IDT + 12 * 16 + 4], 2
  mov rax, 0x0000900000000000
  mov [tss + 4], rax
.call:
  int 0x80

; A TSS that ends before what is wanted of it.
; events: #TS(TSS)@.call, #TS(TSS+1)@.fault
tss_too_short:
  mov word [gdt + TSS], 0x2b                    ; RSP0–2 and IST1, not IST2
  mov byte [gdt + TSS + 5], RIGHTS_TSS
  mov ax, TSS
  ltr ax
  mov byte [IDT + 0x80 * 16 + 4], 2
  mov byte [IDT + 6 * 16 + 4], 2
  resume_at .next
.call:
  int 0x80
.next:
  resume_at .end
.fault:
  ud2
.end:
  done

; A conforming handler runs at the level that was interrupted, on its stack.
; mode: long64 user
; events: int(0x81), int(0x80)
; expect: e0.handler_cs=CONFORMING64|3, e0.handler_ss=USER_DATA, e0.frame=USER_STACK-40, cpl=0
conforming_handler:
  mov word [IDT + 0x81 * 16 + 2], CONFORMING64
  mov word [IDT + 0x81 * 16], .handler
  int 0x81
.handler:
  mov dword [EVENT_COUNT], 1
  mov dword [EVENTS], 0x81
  mov [EVENTS + 72], rsp
  mov eax, cs
  mov [EVENTS + 88], eax
  mov eax, ss
  mov [EVENTS + 80], eax
  int 0x80

; ---- SYSCALL, SYSRET ----

STAR_VALUE equ (USER_CODE32 - 3) << 48 | CODE64 << 32

; events: int(0x80)@.after
; expect: qword[DATA]=.back, qword[DATA+8]&IF|ZF|TF|DF|2=IF|ZF|DF|2, qword[DATA+16]=CODE64, qword[DATA+24]=FLAT, qword[DATA+32]=USER_STACK,
;    qword[DATA+40]&IF|ZF|DF=ZF, e0.cs=USER_CODE64, e0.ss=USER_DATA, e0.rflags=AC|ID|CF|2, e0.rsp=USER_STACK
syscall_sysret:
  write_msr MSR_STAR, STAR_VALUE
  write_msr_label MSR_LSTAR, .kernel
  write_msr MSR_FMASK, IF | DF
  enter_user .user, IF | DF | ZF | 2
.user:
  syscall
.back:
  int 0x80
.after:
.kernel:
  mov [DATA], rcx
  mov [DATA + 8], r11
  mov [DATA + 32], rsp
  pushfq
  pop qword [DATA + 40]
  mov eax, cs
  mov [DATA + 16], rax
  mov eax, ss
  mov [DATA + 24], rax
  mov r11, AC | ID | CF | RF | VM
  o64 sysret

; To compatibility mode: CS and SS of their own, EIP = ECX.
; events: int(0x80)
; expect: e0.cs=USER_CODE32, e0.ss=USER_DATA, e0.rflags=2
sysret_32:
  write_msr MSR_STAR, STAR_VALUE
  mov rcx, .user + (1 << 40)
  mov r11, 0
  sysret
bits 32
.user:
  int 0x80
bits 64

; events: #GP(0), #UD, #UD
; expect: cpl=0
sysret_refused:
  mov rcx, 0x0000800000000000
  attempt o64 sysret
  write_msr MSR_EFER, EFER_LME | EFER_NXE       ; without SCE
  attempt syscall
  attempt o64 sysret
  done

; mode: long64 user
; events: #GP(0), int(0x80)
sysret_user:
  attempt o64 sysret
  int 0x80

; ---- SYSENTER, SYSEXIT ----

; To 64-bit code always; SYSEXIT with REX.W to 64-bit code, without to compatibility mode.
; events: int(0x80), int(0x80)
; expect: qword[DATA]=CODE32, qword[DATA+8]=CODE32+8, qword[DATA+16]=0x3800, e0.cs=CODE32+35, e0.ss=CODE32+43, e0.rsp=USER_STACK,
;    e1.cs=CODE32+19, e1.ss=CODE32+27
sysenter_sysexit:
  write_msr MSR_SYSENTER_CS, CODE32
  write_msr MSR_SYSENTER_ESP, 0x3800
  write_msr_label MSR_SYSENTER_EIP, .kernel
  store8 gdt + ((CODE32 + 32) & ~7), DESCRIPTOR(0, 0xfffff, RIGHTS_CODE | CODE_LONG | GRANULAR | DPL3)
  store8 gdt + ((CODE32 + 40) & ~7), DESCRIPTOR(0, 0xfffff, RIGHTS_DATA | BIG | GRANULAR | DPL3)
  xor ebx, ebx
  enter_user .user
.user:
  sysenter
.kernel:
  mov [DATA + 16], rsp
  mov eax, cs
  mov [DATA], rax
  mov eax, ss
  mov [DATA + 8], rax
  mov ecx, USER_STACK
  mov edx, .out
  inc ebx
  cmp ebx, 2
  je .second
  resume_at .user
  o64 sysexit
.second:
  mov dword [RESUME], 0
  mov edx, .out32
  sysexit
.out:
  int 0x80
bits 32
.out32:
  int 0x80
bits 64

; events: #GP(0), #GP(0), #GP(0), #GP(0)
sysexit_refused:
  attempt sysenter                              ; SYSENTER_CS is 0
  attempt sysexit
  write_msr MSR_SYSENTER_CS, CODE32
  mov rdx, 0x0000800000000000
  xor ecx, ecx
  attempt o64 sysexit
  enter_user .user
.user:
  sysexit

; ---- SWAPGS ----

; expect: gs.base=0x2222, kernel_gs_base=0x1111
swapgs_swaps:
  write_msr MSR_GS_BASE, 0x1111
  write_msr MSR_KERNEL_GS_BASE, 0x2222
  db 0x0f, 0x01, 0xf8
  mov eax, gs
  xor eax, eax
  done

; mode: long64 user
; events: #GP(0), int(0x80)
swapgs_user:
  attempt db 0x0f, 0x01, 0xf8
  int 0x80

; mode: compat32
; events: #UD
swapgs_compatibility:
bits 32
  attempt db 0x0f, 0x01, 0xf8
  done
bits 64
