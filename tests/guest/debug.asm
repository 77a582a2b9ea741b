; Single step, breakpoint registers, RF, general detect. Intel SDM vol. 3 §18.2–18.3 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

DR6_ONES equ 0xffff0ff0
BS equ 0x4000
BD equ 0x2000
DR7_ONES equ 0x400
GD equ 0x2000
L0 equ 1
G0 equ 2
L1 equ 4
%define EXECUTE(n) 0
%define WRITE(n) (1 << (16 + 4 * (n)))
%define IO(n) (2 << (16 + 4 * (n)))
%define ACCESS(n) (3 << (16 + 4 * (n)))
%define LEN2(n) (1 << (18 + 4 * (n)))
%define LEN4(n) (3 << (18 + 4 * (n)))
%define LEN8(n) (2 << (18 + 4 * (n)))

; Sets a debug register; changes RAX (EAX).
%macro set_dr 2
  %if __?BITS?__ == 64
    mov rax, %2
    mov %1, rax
  %else
    mov eax, %2
    mov %1, eax
  %endif
%endmacro
%macro start_step 0
  go_on
  push TF | 2
  popfq
%endmacro

; ---- single step ----

; Not after the POPF that sets TF, but after each instruction from then on.
; events: #DB@.second, #DB@.third, #DB@.end
; expect: e0.dr6=DR6_ONES|BS, e0.rflags&TF|RF=TF, rax=2
single_step:
  start_step
  mov eax, 1
.second:
  mov eax, 2
.third:
  stop_at_next
.end:

; One more after the POPF that clears it.
; events: #DB@.second, #DB@.third, #DB@.end
; expect: rax=3, e2.rflags&TF=0
step_ends:
  push 2
  start_step
  nop
.second:
  lea rsp, [rsp]
.third:
  popfq
.end:
  mov eax, 3
  done

; Branches, calls and returns: at their targets.
; events: #DB@.called, #DB@.back, #DB@.there, #DB@.not_taken, #DB@.last
step_branches:
  start_step
  call .called
.back:
  jmp .there
  ud2
.called:
  ret
.there:
  jc .there
.not_taken:
  stop_at_next
.last:

; REP: after each iteration, RIP at the instruction until it is done.
; events: #DB@.rep, #DB@.rep, #DB@.after, #DB@.last
; expect: rcx=0, rdi=DATA+3
step_rep:
  mov edi, DATA
  mov ecx, 3
  start_step
.rep:
  rep stosb
.after:
  stop_at_next
.last:

; A REP that has nothing to do is one instruction.
; events: #DB@.after, #DB@.last
step_rep_zero:
  xor ecx, ecx
  start_step
  rep stosb
.after:
  stop_at_next
.last:

; INT n clears TF before the handler; there is no trap for the INT itself. IRET sets TF again: the next trap is after what follows.
; events: int(0x80)@.after, #DB@.second, #DB@.last
; expect: e0.rflags&TF=TF
step_int:
  start_step
  int 0x80
.after:
  nop
.second:
  stop_at_next
.last:

; A fault is delivered with TF in its image, and without a trap.
; events: #UD@.bad, #DB@.next
; expect: e0.rflags&TF=TF, e1.dr6=DR6_ONES|BS, e0.dr6=DR6_ONES
step_fault:
  resume_at .good
  push TF | 2
  popfq
.bad:
  ud2
.good:
  nop
.next:

; IRET that sets TF.
; events: #DB@.user2
; expect: e0.cs=USER_CODE64
step_iret:
  enter_user .user, TF | 2
.user:
  nop
.user2:

; SYSCALL with TF in IA32_FMASK: no trap in the kernel; SYSRET brings TF back.
; events: #DB@.after
; expect: e0.cs=USER_CODE64, rbx=5
step_syscall:
  write_msr MSR_STAR, (USER_CODE32 - 3) << 48 | CODE64 << 32
  write_msr_label MSR_LSTAR, .kernel
  write_msr MSR_FMASK, TF
  enter_user .user
.user:
  push TF | 2
  popfq
  syscall
.back:
  nop
.after:
.kernel:
  mov ebx, 5
  o64 sysret

; Without it in IA32_FMASK the trap comes at the kernel's first instruction.
; events: #DB@.kernel
; expect: e0.cs=CODE64, rcx=.back
step_syscall_unmasked:
  write_msr MSR_STAR, (USER_CODE32 - 3) << 48 | CODE64 << 32
  write_msr_label MSR_LSTAR, .kernel
  enter_user .user
.user:
  push TF | 2
  popfq
  syscall
.back:
.kernel:
  ud2

; MOV SS and POP SS hold traps off for one instruction.
; events: #DB@.after, #DB@.last
step_mov_ss:
  mov ebx, FLAT
  start_step
  mov ss, bx
  nop
.after:
  stop_at_next
.last:

; MOV to another segment register does not.
; events: #DB@.next, #DB@.after, #DB@.last
step_mov_ds:
  mov ebx, FLAT
  start_step
  mov ds, bx
.next:
  nop
.after:
  stop_at_next
.last:

; mode: real16
; events: #DB@.second, #DB@.third
; expect: e0.dr6=DR6_ONES|BS
bits 16
step_real:
  go_on
  push word TF | 2
  popf
  nop
.second:
  stop_at_next
.third:

; mode: vm86 iopl3
; events: #DB@.second, #DB@.third
; expect: e0.rflags&VM=VM, e0.dr6=DR6_ONES|BS
step_vm86:
  go_on
  push word TF | 2
  popf
  nop
.second:
  stop_at_next
.third:
bits 64

; HLT with TF: the trap comes at once.
; events: #DB@.after
; expect: rax=9
step_hlt:
  mov eax, 9
  push TF | 2
  popfq
  hlt
.after:

; ---- instruction breakpoints ----

; A fault before the instruction; RF in the image is as it was (clear).
; events: #DB@.here
; expect: e0.dr6&0xf00f=1, e0.rflags&RF=0, rbx=1
execute_breakpoint:
  set_dr dr0, .here
  set_dr dr7, L0
  mov ebx, 1
.here:
  mov ebx, 2

; RF lets the instruction through once, and is cleared by it.
; events: #DB@.loop
; expect: rcx=1
resume_flag:
  set_dr dr0, .loop
  set_dr dr7, G0
  push FLAT
  push KERNEL_STACK
  push RF | 2
  push CODE64
  push .loop
  iretq
.loop:
  inc ecx
  jmp .loop

; A fault sets RF in its image, so that an instruction that is started again does not meet its breakpoint again.
; events: #PF(0)@.access
; expect: rbx=0, e0.rflags&RF=RF
resume_flag_of_fault:
  set_dr dr0, .access
  set_dr dr7, L0
  mov word [IDT + 14 * 16], .handler
  push FLAT
  push KERNEL_STACK
  push RF | 2
  push CODE64
  push .access
  iretq
.access:
  mov ebx, [UNMAPPED]
  done
.handler:
  add rsp, 8
  mov dword [EVENT_COUNT], 1
  mov dword [EVENTS], 14
  mov rax, [rsp]
  mov [EVENTS + 16], rax
  mov rax, [rsp + 16]
  mov [EVENTS + 32], rax
  store8 PDE(UNMAPPED), P | W | PS | 0xa00000
  iretq

; DR1–DR3 as well; several at one place report all.
; events: #DB@.here
; expect: e0.dr6&0xf=0xa
several_breakpoints:
  set_dr dr1, .here
  set_dr dr3, .here
  set_dr dr7, L1 | 0x40
.here:
  nop

; What is not enabled does not break.
; expect: rbx=1
disabled_breakpoint:
  set_dr dr0, .here
  set_dr dr7, 0
.here:
  mov ebx, 1
  done

; Only at the first byte of an instruction, prefixes included.
; events: #DB@.prefix
first_byte_only:
  set_dr dr0, .inside + 1
  set_dr dr1, .prefix
  set_dr dr7, L0 | L1
.inside:
  mov ebx, 0x11223344
.prefix:
  db 0x48, 0x90

; An instruction behind MOV SS is not looked at.
; events: #DB@.next
breakpoint_behind_mov_ss:
  mov ebx, FLAT
  set_dr dr0, .shadowed
  set_dr dr1, .next
  set_dr dr7, L0 | L1
  mov ss, bx
.shadowed:
  nop
.next:
  nop

; A trap of the instruction before comes first.
; events: #DB@.here
; expect: e0.dr6&0x400f=BS
trap_before_breakpoint:
  set_dr dr0, .here
  set_dr dr7, L0
  go_on
  push TF | 2
  popfq
  stop_at_next                                  ; at the second
.here:
  nop

; ---- data breakpoints ----

; Traps: after the instruction. Only writes, or reads too.
; events: #DB@.written, #DB@.read, #DB@.modified
; expect: e0.dr6&0xf=1, e1.dr6&0xf=2, e2.dr6&0xf=3, e0.rflags&RF=0
data_breakpoints:
  set_dr dr0, DATA
  set_dr dr1, DATA + 4
  set_dr dr7, L0 | L1 | WRITE(0) | LEN4(0) | ACCESS(1) | LEN4(1)
  go_on
  mov eax, [DATA]
  mov [DATA + 8], eax
  mov [DATA], eax
.written:
  mov eax, [DATA + 4]
.read:
  lock inc qword [DATA]
.modified:
  done

; Lengths; any byte of the access counts; low address bits that the length covers are ignored.
; events: #DB@.one, #DB@.two, #DB@.three, #DB@.four
breakpoint_lengths:
  set_dr dr0, DATA + 3
  set_dr dr7, L0 | WRITE(0)
  go_on
  mov [DATA + 4], eax
  mov [DATA + 2], al
  mov [DATA], eax
.one:
  set_dr dr0, DATA + 1
  set_dr dr7, L0 | WRITE(0) | LEN2(0)
  mov [DATA], al                                ; bit 0 of the address does not count: DATA and DATA + 1
.two:
  mov [DATA + 2], ax
  set_dr dr7, L0 | WRITE(0) | LEN8(0)
  mov [DATA + 7], al
.three:
  mov [DATA + 8], rax
  mov [DATA - 1], ax
.four:
  done

; A write that faults does not count.
; events: #PF(2)
data_breakpoint_fault:
  set_dr dr0, UNMAPPED
  set_dr dr7, L0 | WRITE(0)
  attempt mov [UNMAPPED], al
  done

; Stack accesses are data accesses: PUSH, CALL.
; events: #DB@.pushed, #DB@.called
data_breakpoint_stack:
  lea rax, [rsp - 8]
  mov dr0, rax
  set_dr dr7, L0 | WRITE(0) | LEN8(0)
  go_on
  push rax
.pushed:
  pop rax
  set_dr dr7, L0 | WRITE(0) | LEN8(0)
  call .called
.called:
  done

; In a REP: after the iteration that hit.
; events: #DB@.rep
; expect: e0.dr6&0xf=1, rcx=5, rdi=DATA+3
data_breakpoint_rep:
  set_dr dr0, DATA + 2
  set_dr dr7, L0 | WRITE(0)
  mov edi, DATA
  mov ecx, 8
.rep:
  rep stosb

; With MOV SS the trap comes one instruction later.
; events: #DB@.later
; expect: e0.dr6&0xf=1
data_breakpoint_mov_ss:
  mov word [DATA], FLAT
  set_dr dr0, DATA
  set_dr dr7, L0 | ACCESS(0) | LEN2(0)
  mov ss, [DATA]
  nop
.later:
  ud2

; Together with a single step: one exception, both bits.
; events: #DB@.after
; expect: e0.dr6&0x400f=BS|1
data_and_step:
  set_dr dr0, DATA
  set_dr dr7, L0 | WRITE(0)
  push TF | 2
  popfq
  mov [DATA], al
.after:
  ud2

; Breakpoints hold for user code.
; events: #DB@.after
; expect: e0.cs=USER_CODE64
data_breakpoint_user:
  set_dr dr0, DATA
  set_dr dr7, G0 | WRITE(0)
  enter_user .user
.user:
  inc byte [DATA]
.after:
  ud2

; x87 and SSE accesses.
; events: #DB@.one, #DB@.two
data_breakpoint_vector:
  set_dr dr0, DATA + 12
  set_dr dr7, L0 | WRITE(0)
  go_on
  movups [DATA], xmm0
.one:
  movups xmm0, [DATA]
  fninit
  fld1
  fstp tword [DATA + 4]
.two:
  done

; ---- I/O breakpoints ----

; events: #DB@.out, #DB@.in
; expect: e0.dr6&0xf=1, rbx=0x5a
io_breakpoint:
  set_cr cr4, CR4_DE
  set_dr dr0, LAB_REGISTERS
  set_dr dr7, L0 | IO(0)
  go_on
  mov dx, LAB_REGISTERS + 1
  mov al, 0x11
  out dx, al
  mov dx, LAB_REGISTERS
  mov al, 0x5a
  out dx, al
.out:
  in al, dx
.in:
  movzx ebx, al
  done

; ---- general detect, access to debug registers ----

; Any MOV with a debug register faults; GD is cleared on the way to the handler. The fault sets RF.
; events: #DB@.read
; expect: e0.dr6&BD=BD, e0.rflags&RF=RF, dr7=DR7_ONES, rbx=DR7_ONES
general_detect:
  set_dr dr7, GD
  resume_at .again
.read:
  mov rbx, dr0
.again:
  mov rbx, dr7
  done

; What reads as one, what as zero.
; expect: rax=DR6_ONES, rbx=0xffffefff, rcx=DR7_ONES, rdx=0xffff07ff
fixed_bits:
  xor eax, eax
  mov dr6, rax
  mov rax, dr6
  mov ebx, 0xffffffff
  mov dr6, rbx
  mov rbx, dr6
  xor ecx, ecx
  mov dr7, rcx
  mov rcx, dr7
  mov edx, 0xffffdfff
  mov dr7, rdx
  mov rdx, dr7
  mov rsi, 0
  mov dr7, rsi
  done

; Upper halves: #GP. DR0–DR3 take any address.
; events: #GP(0), #GP(0)
; expect: dr0=0x8000000000000001
upper_halves:
  mov rax, 1 << 32
  attempt mov dr6, rax
  attempt mov dr7, rax
  mov rax, 0x8000000000000001
  mov dr0, rax
  done

; DR4 and DR5 are other names without CR4.DE, and nothing with it. DR8 and up never exist.
; events: #UD, #UD, #UD
; expect: rbx=DR6_ONES, rcx=DR7_ONES
aliases:
  db 0x0f, 0x21, 0xe3                           ; mov rbx, dr4
  db 0x0f, 0x21, 0xe9                           ; mov rcx, dr5
  set_cr cr4, CR4_DE
  attempt db 0x0f, 0x21, 0xe3
  attempt db 0x0f, 0x23, 0xe9
  attempt db 0x44, 0x0f, 0x21, 0xc3
  done

; mode: long64 user
; events: #GP(0), #GP(0), int(0x80)
debug_registers_user:
  attempt mov rax, dr0
  attempt mov dr7, rax
  int 0x80

; A breakpoint at a linear address in 32-bit code with a segment base.
; mode: protected32
; events: #DB
; expect: e0.dr6&0xf=1, e0.rip=4
breakpoint_linear:
bits 32
  mov dword [DATA], 0x90909090
  mov dword [DATA + 4], 0x90909090
  store8 gdt + FREE, DESCRIPTOR(DATA, 0xfff, RIGHTS_CODE | BIG)
  set_dr dr0, DATA + 4
  set_dr dr7, L0
  jmp FREE:0
bits 64

; RF that an IRET loads outlives that IRET, even if RF was set for itself.
; events: #DB@.end
; expect: rbx=1
resume_flag_of_iret:
  set_dr dr0, .first
  set_dr dr1, .second
  set_dr dr2, .end
  set_dr dr7, L0 | L1 | 0x10
  push FLAT
  push KERNEL_STACK
  push RF | 2
  push CODE64
  push .second
  push FLAT
  lea rax, [rsp + 8]
  push rax
  push RF | 2
  push CODE64
  push .first
  iretq
.first:
  iretq
.second:
  mov ebx, 1
.end:
  nop

; IA32_DEBUGCTL.BTF: TF traps only at branches that are taken; the exception clears BTF.
; events: #DB@.target
; expect: rbx=3
step_on_branches:
  mov ecx, 0x1d9
  mov eax, 2
  xor edx, edx
  wrmsr
  push TF | 2
  popfq
  mov ebx, 1
  inc ebx
  inc ebx
  jc .target
  jmp .target
  ud2
.target:
