; Far jumps, calls, returns and IRET, call gates, SYSENTER in protected mode. Intel SDM vol. 3 §5.8, vol. 2 "CALL", "JMP", "RET", "IRET",
; "SYSENTER", "SYSEXIT" (edition 085).
; mode: protected32
%include "guest.inc"
bits 32

%macro set_free 1
  store8 gdt + FREE, %1
%endmacro
FREE_GATE equ FREE | 3

; ---- direct far jumps and calls ----

; Null, outside, no code, not present, wrong privilege, beyond the limit.
; events: #GP(0), #GP(BEYOND), #GP(FLAT), #NP(ABSENT_CODE), #GP(USER_CODE32-3), #GP(CODE32), #GP(FREE), #GP(0), #GP(LDT)
far_jump_refused:
  attempt jmp 3:0
  attempt jmp BEYOND:0
  attempt jmp FLAT:0
  attempt jmp ABSENT_CODE:0
  attempt jmp USER_CODE32:.end                  ; DPL 3 from CPL 0
  attempt jmp (CODE32 | 1):.end                 ; RPL above CPL
  set_free DESCRIPTOR(0, 0xfffff, RIGHTS_CODE | 4 | DPL1 | BIG | GRANULAR)
  attempt jmp FREE:.end                         ; conforming, DPL above CPL
  set_free DESCRIPTOR(0, 0xfff, RIGHTS_CODE | BIG)
  attempt jmp FREE:0x1000
  attempt jmp LDT:0
.end:
  done

; The RPL of CS becomes CPL; conforming code takes over the caller's privilege.
; events: int(0x80)@.after
; expect: e0.cs=CONFORMING32|3, e0.ss=USER_DATA, eax=CONFORMING32
conforming:
  jmp CONFORMING32:.inner
.inner:
  mov eax, cs
  enter_user .user
.user:
  jmp (CONFORMING32 | 3):.there
.there:
  int 0x80
.after:

; A far call pushes CS and the return address in the operand size; a far return takes them back, and drops more if it is told.
; expect: eax=.back32, ebx=CODE32, ecx=.back16, edx=CODE32, esi=KERNEL_STACK, edi=KERNEL_STACK
far_call_return:
  push dword 0x11
  push dword 0x22
  call CODE32:.callee32
.back32:
  mov esi, esp
  push dword 0x33
  call word CODE32:.callee16
.back16:
  pop dword [DATA]
  mov edi, esp
  done
.callee32:
  mov eax, [esp]
  mov ebx, [esp + 4]
  retf 8
.callee16:
  movzx ecx, word [esp]
  movzx edx, word [esp + 2]
  o16 retf

; To 16-bit code and back.
; expect: ebx=0x1234, eax=0xffff1234
to_16_bit_code:
  or eax, -1
  call CODE16:.narrow
  done
bits 16
.narrow:
  mov ax, 0x1234
  mov bx, ax
  o32 retf
bits 32

; Through memory; the pointer is read before anything else is looked at.
; mode: pae32
; events: #PF(0), #GP(BEYOND)
; expect: eax=1, e0.cr2=UNMAPPED
far_jump_indirect:
  attempt jmp far [UNMAPPED]
  mov dword [DATA], .there
  mov word [DATA + 4], BEYOND
  attempt jmp far [DATA]
  mov word [DATA + 4], CODE32
  jmp far [DATA]
.there:
  mov eax, 1
  done

; ---- call gates ----

; To CPL 0 with two parameters: SS, ESP, parameters, CS, EIP on the stack of the TSS. A return releases them on both stacks.
; events: int(0x80)
; expect: dword[DATA]=.back, dword[DATA+4]=USER_CODE32, dword[DATA+8]=0x22, dword[DATA+12]=0x11, dword[DATA+16]=USER_STACK-8,
;    dword[DATA+20]=USER_DATA, dword[DATA+24]=CODE32, dword[DATA+28]=INNER_STACK-24, e0.rsp=USER_STACK, e0.cs=USER_CODE32
call_gate:
%assign GATE_COUNT 2
  store_gate gdt + FREE, CODE32, .inner, RIGHTS_CALL | DPL3
%assign GATE_COUNT 0
  enter_user .user
.user:
  push dword 0x11
  push dword 0x22
  call FREE_GATE:0x1234                         ; the offset does not matter
.back:
  int 0x80
.inner:
  mov [DATA + 28], esp
  %assign i 0
  %rep 6
    mov eax, [esp + i]
    mov [DATA + i], eax
    %assign i i + 4
  %endrep
  mov eax, cs
  mov [DATA + 24], eax
  retf 8

; A 16-bit gate pushes words and copies words.
; events: int(0x80)
; expect: word[DATA]=.back, word[DATA+2]=USER_CODE32, word[DATA+4]=0x2222, word[DATA+6]=USER_STACK-2,
;    word[DATA+8]=USER_DATA, dword[DATA+12]=INNER_STACK-10
call_gate_16:
%assign GATE_COUNT 1
  store_gate gdt + FREE, CODE32, .inner, RIGHTS_CALL16 | DPL3
%assign GATE_COUNT 0
  enter_user .user
.user:
  push word 0x2222
  call FREE_GATE:0
.back:
  int 0x80
.inner:
  mov [DATA + 12], esp
  mov esi, esp
  mov edi, DATA
  mov ecx, 5
  rep movsw
  o16 retf 2

; From the same level there is no stack switch.
; expect: eax=.back, ebx=CODE32, ecx=KERNEL_STACK-8
call_gate_same_level:
%assign GATE_COUNT 3
  store_gate gdt + FREE, CODE32, .inner, RIGHTS_CALL
%assign GATE_COUNT 0
  call FREE:0
.back:
  done
.inner:
  mov ecx, esp
  mov eax, [esp]
  mov ebx, [esp + 4]
  retf

; To conforming code: no change of privilege, no stack switch.
; events: int(0x80)
; expect: e0.cs=CONFORMING32|3, e0.rsp=USER_STACK-8
call_gate_conforming:
  store_gate gdt + FREE, CONFORMING32, .inner, RIGHTS_CALL | DPL3
  enter_user .user
.user:
  call FREE_GATE:0
.inner:
  int 0x80

; To ring 1: that ring's stack.
; events: int(0x80)
; expect: e0.cs=RING1_CODE, e0.ss=RING1_DATA, e0.rsp=RING1_STACK-16
call_gate_ring1:
  store_gate gdt + FREE, RING1_CODE, .inner, RIGHTS_CALL | DPL3
  enter_user .user
.user:
  call FREE_GATE:0
.inner:
  int 0x80

; The gate's own checks: DPL against CPL and RPL, presence. Then the target's.
; events: #GP(FREE), #GP(FREE), #NP(FREE), #GP(0), #GP(FLAT), #NP(ABSENT_CODE), #GP(BEYOND), #GP(RING1_CODE-1), #GP(0)
call_gate_refused:
  %macro try_gate 3-4 FREE        ; target, offset, rights, selector to call
    store_gate gdt + FREE, %1, %2, %3
    attempt call %4:0
  %endmacro
  try_gate CODE32, .end, RIGHTS_CALL | DPL2, FREE | 3
  try_gate CODE32, .end, RIGHTS_CALL, FREE | 1
  try_gate CODE32, .end, RIGHTS_CALL & ~PRESENT
  try_gate 3, .end, RIGHTS_CALL
  try_gate FLAT, .end, RIGHTS_CALL
  try_gate ABSENT_CODE, .end, RIGHTS_CALL
  try_gate BEYOND, .end, RIGHTS_CALL
  try_gate RING1_CODE, .end, RIGHTS_CALL        ; outward
  store_segment gdt + FREE + 8, 0, 0xff, RIGHTS_CODE | BIG
  try_gate FREE + 8, 0x100, RIGHTS_CALL         ; beyond the target's limit
.end:
  done

; A jump through a gate may not go inward.
; events: #GP(CODE32), int(0x80)
; expect: e1.cs=CONFORMING32|3
jump_through_gate:
  store_gate gdt + FREE, CODE32, .inner, RIGHTS_CALL | DPL3
  store_gate gdt + FREE + 8, CONFORMING32, .inner, RIGHTS_CALL | DPL3
  enter_user .user
.user:
  attempt jmp FREE_GATE:0
  jmp (FREE + 8 | 3):0
.inner:
  int 0x80

; The stack that the TSS names: null, wrong RPL, wrong DPL, read-only, not present, outside.
; events: #TS(0), #TS(RING1_DATA-1), #TS(FLAT), #TS(FREE+8), #SS(FREE+8), #TS(BEYOND), int(0x80)
; expect: e0.cs=USER_CODE32, e0.rsp=USER_STACK
inner_stack_refused:
  store_gate gdt + FREE, RING1_CODE, .end, RIGHTS_CALL | DPL3
  enter_user .user
.user:
  %macro try_stack 1
    mov word [tss + 16], %1
    attempt call FREE_GATE:0
  %endmacro
  try_stack 0
  try_stack RING1_DATA & ~3
  try_stack FLAT | 1
  store8 gdt + FREE + 8, DESCRIPTOR(0, 0xfffff, (RIGHTS_DATA & ~2) | DPL1 | BIG | GRANULAR)
  try_stack FREE + 8 | 1
  store8 gdt + FREE + 8, DESCRIPTOR(0, 0xfffff, (RIGHTS_DATA & ~PRESENT) | DPL1 | BIG | GRANULAR)
  try_stack FREE + 8 | 1
  try_stack BEYOND | 1
.end:
  int 0x80

; The new stack is too small: #SS with its selector. Nothing has changed then.
; events: #SS(FREE+8), int(0x80)
; expect: e1.cs=USER_CODE32, e1.rsp=USER_STACK
inner_stack_too_small:
  store_gate gdt + FREE, RING1_CODE, .end, RIGHTS_CALL | DPL3
  store8 gdt + FREE + 8, DESCRIPTOR(DATA, 0xfff, RIGHTS_DATA | DPL1 | BIG)
  mov word [tss + 16], FREE + 8 | 1
  mov dword [tss + 12], 12
  enter_user .user
.user:
  attempt call FREE_GATE:0
.end:
  int 0x80

; A TSS that ends before the stack's entry.
; events: #TS(TSS), int(0x80)
tss_too_short:
  store_gate gdt + FREE, RING2_CODE, .end, RIGHTS_CALL | DPL3
  mov word [gdt + TSS], 22                      ; ring 0 and 1, but SS2 ends at 25
  mov byte [gdt + TSS + 5], RIGHTS_TSS
  mov ax, TSS
  ltr ax
  enter_user .user
.user:
  attempt call FREE_GATE:0
.end:
  int 0x80

; ---- returns ----

; Outward: SS and ESP come from the stack; segments that the new level may not use become null. What RETF releases, it releases on
; both stacks: between CS and ESP here, and of the outer stack.
; events: int(0x80)
; expect: e0.cs=USER_CODE32, e0.ss=USER_DATA, e0.rsp=USER_STACK+4, ds=0, es=USER_DATA, fs=CONFORMING32, gs=0
return_outward:
  mov ax, USER_DATA
  mov es, ax
  mov ax, CONFORMING32
  mov fs, ax
  mov ax, RING2_DATA
  mov gs, ax
  push dword USER_DATA
  push dword USER_STACK
  push dword 0x99
  push dword USER_CODE32
  push dword .user
  retf 4
.user:
  int 0x80

; Inward, to data, null, outside, not present; with a bad outer stack.
; events: #GP(0), #GP(FLAT), #GP(BEYOND), #NP(FREE), #GP(CODE32), #GP(0), #GP(FLAT), #GP(USER_DATA-3), #SS(FREE+8), #GP(CODE32), int(0x80)
; expect: e9.cs=USER_CODE32
return_refused:
  set_free DESCRIPTOR(0, 0xfffff, (RIGHTS_CODE & ~PRESENT) | BIG | GRANULAR)
  store8 gdt + FREE + 8, DESCRIPTOR(0, 0xfffff, (RIGHTS_DATA & ~PRESENT) | DPL3 | BIG | GRANULAR)
  mov ebx, esp
  %macro try_return 1
    push dword %1
    push dword .end
    attempt retf
    mov esp, ebx
  %endmacro
  try_return 0
  try_return FLAT
  try_return BEYOND
  try_return FREE
  try_return CODE32 | 3                         ; RPL 3, DPL 0
  %macro try_outer_stack 1
    push dword %1
    push dword USER_STACK
    push dword USER_CODE32
    push dword .end
    attempt retf
    mov esp, ebx
  %endmacro
  try_outer_stack 0
  try_outer_stack FLAT
  try_outer_stack USER_DATA & ~3
  try_outer_stack FREE + 8 | 3
  enter_user .in_user
.in_user:
  push dword CODE32
  push dword .end
  attempt retf                                  ; inward
.end:
  int 0x80

; IRET to the same level: EIP, CS, EFLAGS only.
; expect: eax=KERNEL_STACK, ebx&0xfd5=0xd5
iret_same_level:
  push dword 0xd7
  push dword CODE32
  push dword .there
  iretd
.there:
  pushfd
  pop ebx
  mov eax, esp
  done

; At CPL 3 IRET cannot change IOPL, nor IF when CPL is above IOPL; VM is not looked at. AC and ID can be.
; events: int(0x80)
; expect: e0.rflags=AC|ID|NT|2
iret_user_flags:
  enter_user .user
.user:
  push dword IF | IOPL3 | AC | ID | VM | NT | 2
  push dword USER_CODE32
  push dword .there
  iretd
.there:
  int 0x80

; With IOPL 3 it can change IF.
; events: int(0x80)
; expect: e0.rflags&IOPL3|IF=IOPL3|IF
iret_user_iopl:
  enter_user .user, IOPL3 | 2
.user:
  push dword IF | 2
  push dword USER_CODE32
  push dword .there
  iretd
.there:
  int 0x80

; A 16-bit IRET leaves the upper half of EFLAGS and takes 16 bits of everything.
; expect: eax&AC|0xfd5=AC|0xd5, ebx=KERNEL_STACK
iret_16:
  push dword AC | 2
  popfd
  push word 0xd7
  push word CODE32
  push word .there
  iretw
.there:
  pushfd
  pop eax
  mov ebx, esp
  done

; events: #GP(0), #GP(CODE32), #GP(0), #GP(FLAT), #GP(BEYOND)
iret_refused:
  mov ebx, esp
  %macro try_iret 2       ; CS, SS
    push dword %2
    push dword USER_STACK
    push dword 2
    push dword %1
    push dword .end
    attempt iretd
    mov esp, ebx
  %endmacro
  try_iret 0, 0
  try_iret CODE32 | 3, USER_DATA
  try_iret USER_CODE32, 0
  try_iret USER_CODE32, FLAT
  try_iret BEYOND, 0
.end:
  done

; The return address must lie within the new segment.
; events: #GP(0), #GP(0)
return_beyond_limit:
  store_segment gdt + FREE, 0, 0xff, RIGHTS_CODE | BIG
  push dword FREE
  push dword 0x100
  attempt retf
  push dword 2
  push dword FREE
  push dword 0x100
  attempt iretd
  done

; ---- SYSENTER, SYSEXIT ----

SYSENTER_SELECTOR equ CODE32    ; then SS = 20H; SYSEXIT: CS = 2BH, SS = 33H; what the tables say does not matter
; events: int(0x80)
; expect: dword[DATA]=SYSENTER_SELECTOR, dword[DATA+4]=SYSENTER_SELECTOR+8, dword[DATA+8]=0x3800, dword[DATA+12]&IF|VM|RF|ZF=ZF,
;    e0.cs=SYSENTER_SELECTOR+19, e0.ss=SYSENTER_SELECTOR+27, e0.rsp=USER_STACK, e0.rip=.after
sysenter:
  write_msr MSR_SYSENTER_CS, SYSENTER_SELECTOR
  write_msr MSR_SYSENTER_ESP, 0x3800
  write_msr_label MSR_SYSENTER_EIP, .kernel
  enter_user .user, IF | ZF | 2
.user:
  mov ecx, esp
  mov edx, .returned
  db 0x0f, 0x34
.returned:
  int 0x80
.after:
.kernel:
  mov [ss:DATA + 8], esp
  pushfd
  pop dword [ss:DATA + 12]
  mov eax, cs
  mov [ss:DATA], eax
  mov eax, ss
  mov [ss:DATA + 4], eax
  db 0x0f, 0x35

; A null selector in the MSR; SYSEXIT above CPL 0; both in real mode (below).
; events: #GP(0), #GP(0), #GP(0)
sysenter_refused:
  attempt db 0x0f, 0x34
  attempt db 0x0f, 0x35
  write_msr MSR_SYSENTER_CS, CODE32
  enter_user .user
.user:
  db 0x0f, 0x35

; mode: real16
; events: #GP, #GP
sysenter_real:
bits 16
  attempt db 0x0f, 0x34
  attempt db 0x0f, 0x35
  done
bits 32

; Outside of 64-bit mode there is no SYSCALL here (as on Intel processors).
; mode: protected32 | compat32
; events: #UD, #UD
syscall_32:
  attempt db 0x0f, 0x05
  attempt db 0x0f, 0x07
  done
