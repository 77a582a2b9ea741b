; Virtual-8086 mode without VME. Intel SDM vol. 3 §21 (edition 085).
; mode: vm86
%include "guest.inc"
bits 16

; What depends on IOPL.
; events: #GP(0) x8, #BP
; expect: e0.rflags&VM|IOPL3=VM, e0.cs=0, e0.ss=0, rsp=INNER_STACK-36
sensitive:
  attempt cli
  attempt sti
  attempt pushfw
  attempt popfw
  attempt pushfd
  attempt popfd
  attempt int 0x80
  attempt iretw
  int3

; With IOPL 3 they work: PUSHF shows no VM, POPF and IRET leave IOPL and VM.
; mode: vm86 iopl3
; events: int(0x80)
; expect: eax&0x37fd7=IOPL3|IF|2, ebx&0x37fd7=IOPL3|2, e0.rflags&VM|IF|IOPL3|CF|ZF=VM|IOPL3|CF, ecx=0x1357, e0.cs=0x123, e0.rip=.after-0x1230
sensitive_iopl3:
  sti
  pushfd
  pop eax
  push dword 2 | VM
  popfd
  pushfd
  pop ebx
  mov ecx, 0x1357
  push word CF | 2
  push word 0x123
  push word .there - 0x1230
  iretw
.there:
  int 0x80
.after:

; INT3 and INTO go to the monitor at any IOPL. The frame has the data segments; the handler finds them null.
; events: #BP@.after
; expect: dword[INNER_STACK-4]=0x4000, dword[INNER_STACK-8]=0x3000, dword[INNER_STACK-12]=0x2000, dword[INNER_STACK-16]=0x1000,
;    word[INNER_STACK-20]=0, dword[INNER_STACK-24]=REAL_STACK, e0.frame=INNER_STACK-36, ds=0, es=0, fs=0, gs=0, ss=FLAT, cs=CODE32
frame:
  mov ax, 0x1000
  mov es, ax
  mov ax, 0x2000
  mov ds, ax
  mov ax, 0x3000
  mov fs, ax
  mov ax, 0x4000
  mov gs, ax
  int3
.after:

; Privileged instructions.
; events: #GP(0) x9, #BP
privileged:
  attempt hlt
  attempt mov eax, cr0
  attempt mov cr0, eax
  attempt mov eax, dr7
  attempt lgdt [DATA - 0x10000]
  attempt lmsw ax
  attempt clts
  attempt rdmsr
  attempt invlpg [0]
  int3

; Handlers must be at ring 0, in code that does not conform.
; mode: vm86 iopl3
; events: #GP(RING1_CODE-1), #GP(CONFORMING32), int(0x80)
handler_privilege:
  mov word [IDT + 0x81 * 8 + 2], RING1_CODE
  attempt int 0x81
  mov word [IDT + 0x81 * 8 + 2], CONFORMING32
  attempt int 0x81
  int 0x80

; The DPL of the gate counts: CPL is 3.
; mode: vm86 iopl3
; events: #GP(0x20a), int(0x80)
gate_privilege:
  attempt int 0x41
  int 0x80

; Segments are selector × 16, 64 KiB, writable; also CS.
; events: #GP(0)@.over, #SS(0)@.stack, #BP
; expect: rbx=0x55, rcx=0x66, rdx=0x55
segments:
  mov ax, DATA >> 4
  mov ds, ax
  mov byte [0x10], 0x55
  mov ax, (DATA >> 4) + 1
  mov es, ax
  mov bl, [es:0]
  mov byte [cs:.written], 0x66
  mov cl, [cs:.written]
  mov ax, 0xffff
  mov gs, ax
  mov dword [ss:RESUME], .next
  mov si, 0xffff
.over:
  mov ax, [si]
.next:
  mov dword [ss:RESUME], .next2
  mov bp, 0xffff
.stack:
  mov ax, [bp]
.next2:
  mov dl, [es:0]
  int3
.written:
  db 0

; FFFFH:10H is 100000H: linear addresses do not wrap at 1 MiB.
; events: #BP
; expect: rbx=0x77, byte[TEST_PAGES]=0x77
first_64k_above_1m:
  mov ax, 0xffff
  mov es, ax
  mov byte [es:0x10], 0x77
  mov bl, [es:0x10]
  int3

; Far transfers as in real mode.
; events: #BP
; expect: e0.cs=0x200, rbx=0x7777, rcx=0xabcd
far_transfers:
  call 0x100:.callee - 0x1000
  mov cx, 0xabcd
  jmp 0x200:.last - 0x2000
.callee:
  mov bx, 0x7777
  retf
.last:
  int3

; I/O asks the bitmap, whatever IOPL says.
; mode: vm86 | vm86 iopl3
; events: #GP(0), #GP(0), #BP
; expect: rbx=0x42
input_output:
  mov byte [tss_io_map + LAB_REGISTERS / 8], 0xfd
  mov dx, LAB_REGISTERS
  attempt out dx, al
  inc dx
  mov al, 0x42
  out dx, al
  in al, dx
  mov bl, al
  attempt out dx, ax
  int3

; ARPL and the like do not exist (segments.asm); SYSENTER does.
; mode: protected32
; events: int(0x80)
; expect: e0.cs=CODE32, e0.rflags&VM=0, e0.rsp=0x3800
sysenter_works:
bits 32
  write_msr MSR_SYSENTER_CS, CODE32
  write_msr MSR_SYSENTER_ESP, 0x3800
  write_msr_label MSR_SYSENTER_EIP, .kernel
  enter_vm86 .code
bits 16
.code:
  db 0x0f, 0x34
bits 32
.kernel:
  int 0x80

; ---- entry by IRET ----

; Only CPL 0 enters; all segments come from the frame.
; mode: protected32
; events: #BP
; expect: e0.cs=0x100, e0.rip=.there+1-0x1000, e0.ss=0x111, e0.rsp=0x222, e0.rflags&VM|ID|CF=VM|ID|CF,
;    dword[INNER_STACK-16]=0x3333, dword[INNER_STACK-12]=0x4444, dword[INNER_STACK-8]=0x5555, dword[INNER_STACK-4]=0x6666
entry:
bits 32
  push dword 0xffff6666                         ; GS
  push dword 0x5555
  push dword 0x4444
  push dword 0x3333                             ; ES
  push dword 0x111
  push dword 0x222
  push dword VM | ID | CF | 2
  push dword 0x100
  push dword .there - 0x1000
  iretd
bits 16
.there:
  int3

; A monitor's way back: the frame is returned to as it was.
; mode: protected32
; events: #GP(0)@.cli, #BP@.after
; expect: rbx=0x1234, e1.rflags&VM=VM
monitor:
bits 32
  enter_vm86 .code
bits 16
.code:
  mov ebx, 0x1234
  mov dword [RESUME], .next
.cli:
  cli
.next:
  int3
.after:

; With paging: user rights.
; mode: pae32
; events: #PF(5)@.read, #PF(7)@.write
; expect: e0.cr2=TEST_PAGES, e1.cr2=TEST_PAGES, e0.rflags&VM=VM
user_rights:
bits 32
  mov byte [PTE(TEST_PAGES)], P | W
  enter_vm86 .code
bits 16
.code:
  mov ax, 0xffff
  mov es, ax
  mov dword [RESUME], .next
.read:
  mov al, [es:0x10]
.next:
.write:
  mov [es:0x10], al

; SMSW, SGDT and the like are free; STR and SLDT do not exist.
; events: #UD, #UD, #BP
; expect: rax&1=1
status_instructions:
bits 16
  attempt str bx
  attempt sldt bx
  sgdt [0x7800]
  smsw ax
  int3
