; Maskable interrupts, NMI, shadows, HLT, priorities, with the real local APIC, 8259s and 8254. Intel SDM vol. 3 §6.7, §6.8, §11 (085).
; mode: long64
%include "guest.inc"
bits 64

%macro apic_on 0
  apic_write APIC_SVR, 0x1ff
%endmacro
; A fixed interrupt to this processor.
%macro send_self 1
  apic_write APIC_ICR, ICR_SELF | %1
%endmacro
%macro send_nmi 0
  apic_write APIC_ICR_HIGH, 0
  apic_write APIC_ICR, ICR_NMI
%endmacro
%macro end_of_interrupt 0
  apic_write APIC_EOI, 0
%endmacro
; What is written to the APIC may take effect some instructions later: long enough for any.
%macro settle 0
  mov ecx, 100
  %%wait:
  dec ecx
  jnz %%wait
%endmacro

; ---- IF and its shadows ----

; Pending while IF is 0; STI holds it off for one more instruction.
; events: int(0x40)@.second
; expect: e0.rflags&IF=IF, rax=1
sti_shadow:
  apic_on
  send_self 0x40
  settle
  sti
  inc eax
.second:
  inc eax
  done

; Of two STI the first has the shadow.
; events: int(0x40)@.second
sti_twice:
  apic_on
  send_self 0x40
  settle
  sti
  sti
.second:
  nop
  done

; STI, CLI: nothing comes through.
; expect: rax=7
sti_cli:
  apic_on
  send_self 0x40
  settle
  sti
  cli
  nop
  mov eax, 7
  done

; No shadow if IF was set already, nor after POPF and IRET.
; events: int(0x40)@.here
popf_sets_if:
  apic_on
  send_self 0x40
  settle
  push IF | 2
  popfq
.here:
  nop
  done

; events: int(0x40)@.here
iret_sets_if:
  apic_on
  send_self 0x40
  settle
  push FLAT
  push KERNEL_STACK
  push IF | 2
  push CODE64
  push .here
  iretq
.here:
  nop
  done

; With IF set it comes by itself.
; events: int(0x40)
by_itself:
  apic_on
  sti
  send_self 0x40
  settle
  ud2

; A timer's interrupt comes at ever different places of a loop, but never behind `%1`, which holds it off for one instruction.
; DATA counts interrupts, DATA + 4 those at .held.
%macro sweep 1+
  mov word [IDT + 0x41 * 16], .handler
  apic_on
  apic_write APIC_TIMER_DIVIDE, 0xb
  apic_write APIC_LVT_TIMER, 0x41
  mov eax, FLAT
  mov ebx, 1000
  apic_write APIC_TIMER_COUNT, ebx
  sti
.loop:
  nop
  %1
.held:
  nop
  nop
  jmp .loop
.handler:
  cmp qword [rsp], .held
  jne .elsewhere
  inc dword [DATA + 4]
.elsewhere:
  inc dword [DATA]
  cmp dword [DATA], 60
  je .enough
  apic_write APIC_EOI, 0
  inc ebx
  mov qword [rsp], .loop
  apic_write APIC_TIMER_COUNT, ebx
  iretq
.enough:
  cmp dword [DATA + 4], 0
  setne [DATA + 8]
  done
%endmacro

; MOV SS holds interrupts off for one instruction, so that a stack pointer can follow; so does STI that sets IF.
; expect: dword[DATA]=60, dword[DATA+4]=0
mov_ss_shadow:
  sweep mov ss, ax
; expect: dword[DATA]=60, dword[DATA+4]=0
sti_shadow_sweep:
  sweep .sti: db 0xfa, 0xfb
; This one does not, which shows that the sweep gets everywhere.
; expect: dword[DATA]=60, dword[DATA+8]=1
no_shadow_sweep:
  sweep mov ds, ax

; MOV to another segment register has none.
; events: int(0x40)@.here
no_shadow_for_ds:
  apic_on
  send_self 0x40
  settle
  mov ax, FLAT
  sti
  mov ds, ax
.here:
  nop
  done

; ---- HLT ----

; HLT behind STI: woken, and RIP is behind HLT.
; events: int(0x40)@.after
; expect: rbx=1
sti_hlt:
  apic_on
  send_self 0x40
  settle
  resume_at .after
  sti
  hlt
.after:
  cli
  mov ebx, 1
  done

; The APIC's timer wakes it, later.
; events: int(0x41)@.after
; expect: rbx=1
hlt_timer:
  apic_on
  apic_write APIC_TIMER_DIVIDE, 0xb
  apic_write APIC_LVT_TIMER, 0x41
  apic_write APIC_TIMER_COUNT, 5000
  resume_at .after
  sti
  hlt
.after:
  cli
  mov ebx, 1
  done

; ---- NMI ----

; Not held off by IF.
; events: NMI
; expect: e0.rflags&IF=0
nmi_without_if:
  apic_on
  send_nmi
  settle
  ud2

; Blocked from its delivery until an IRET, whatever IRET that is; one stays pending.
; events: NMI, NMI@.unblocked
; expect: rbx=3
nmi_blocked:
  apic_on
  mov word [IDT + 2 * 16], .handler
  send_nmi
  settle
  ud2
.handler:
  mov dword [EVENT_COUNT], 1                    ; the recorder is for the next one
  mov dword [EVENTS], 2
  mov word [IDT + 2 * 16], stubs64 + 2 * 5
  send_nmi
  send_nmi
  settle
  mov ebx, 3
  go_on
  push FLAT
  push KERNEL_STACK - 0x100
  push 2
  push CODE64
  push .unblocked
  iretq
.unblocked:
  done

; An IRET that faults ends the blocking as well: the NMI comes before the handler's first instruction.
; events: NMI, NMI@.protection
nmi_unblocked_by_faulting_iret:
  apic_on
  mov word [IDT + 2 * 16], .handler
  send_nmi
  settle
  ud2
.handler:
  mov dword [EVENT_COUNT], 1
  mov dword [EVENTS], 2
  mov word [IDT + 2 * 16], stubs64 + 2 * 5
  mov word [IDT + 13 * 16], .protection
  send_nmi
  settle
  push 0
  push 0
  push 2
  push 0
  push 0
  iretq
.protection:
  nop
  done

; Exceptions do not block NMIs, and an NMI handler may be interrupted by them: their IRET unblocks.
; events: NMI, #BP, NMI
nmi_unblocked_by_other_iret:
  apic_on
  mov word [IDT + 2 * 16], .handler
  send_nmi
  settle
  ud2
.handler:
  mov dword [EVENT_COUNT], 1
  mov dword [EVENTS], 2
  mov word [IDT + 2 * 16], stubs64 + 2 * 5
  send_nmi
  settle
  resume_at .after
  int3
.after:
  settle
  ud2

; ---- priorities ----

; Several at once: the highest vector first, each when the one before has ended.
; events: int(0x71), int(0x62), int(0x50)
priorities:
  apic_on
  send_self 0x50
  send_self 0x71
  send_self 0x62
  settle
  go_on
  sti
  settle
  end_of_interrupt
  settle
  end_of_interrupt
  settle
  cli
  done

; Without EOI only a higher class comes through.
; events: int(0x62), int(0x71)
in_service_holds_off:
  apic_on
  send_self 0x62
  go_on
  sti
  settle
  send_self 0x6f
  settle
  send_self 0x71
  settle
  cli
  done

; TPR (and CR8, the same register): classes up to it wait; lowering it lets them in at once.
; events: int(0x71), int(0x62)@.lowered
; expect: rbx=0x60, rdx=6
task_priority:
  apic_on
  mov eax, 6
  mov cr8, rax
  mov esi, APIC + APIC_TPR
  mov ebx, [rsi]
  mov rdx, cr8
  go_on
  sti
  send_self 0x62
  send_self 0x71
  settle
  end_of_interrupt
  settle
  xor eax, eax
  mov cr8, rax
.lowered:
  cli
  done

; An exception of the instruction before comes first, then the interrupt (before the handler's first instruction if IF says so).
; mode: protected32
; events: int(0x40)
; expect: e0.rip=.handler
interrupt_after_exception:
bits 32
  apic_on
  store_gate IDT + 6 * 8, CODE32, .handler, RIGHTS_TRAP
  send_self 0x40
  settle
  sti
  ud2
.handler:
  nop
  done
bits 64

; ---- 8259s and 8254 ----

; The timer's interrupt through LINT0; its vector comes from the 8259.
; events: int(0x20)
; expect: rbx=0x11
programmable_interrupt_controller:
  apic_on
  apic_write APIC_LVT_LINT0, 0x700
  mov al, 0x11
  out 0x20, al
  mov al, 0x20
  out 0x21, al
  mov al, 4
  out 0x21, al
  mov al, 1
  out 0x21, al
  mov al, 0xfe
  out 0x21, al
  mov al, 0x30                                  ; counter 0, mode 0
  out 0x43, al
  mov al, 0x20
  out 0x40, al
  mov al, 0
  out 0x40, al
  resume_at .after
  sti
  hlt
.after:
  mov ebx, 0x11
  done

; Real mode: through the vector table.
; mode: real16
; events: int(0x20)
real_mode_interrupt:
bits 16
  mov al, 0x11
  out 0x20, al
  mov al, 0x20
  out 0x21, al
  mov al, 4
  out 0x21, al
  mov al, 1
  out 0x21, al
  mov al, 0xfe
  out 0x21, al
  mov ecx, MSR_APIC_BASE                        ; the APIC off: LINT0 is INTR
  rdmsr
  and ah, ~8 & 0xff
  wrmsr
  mov al, 0x30
  out 0x43, al
  mov al, 0x20
  out 0x40, al
  mov al, 0
  out 0x40, al
  resume_at .after
  sti
  hlt
.after:
  done
bits 64

; ---- delivery of external interrupts ----

; A gate that is not there: EXT is set.
; events: #NP(0x203)
external_gate_not_present:
  apic_on
  and byte [IDT + 0x40 * 16 + 5], ~PRESENT & 0xff
  send_self 0x40
  settle
  sti
  nop
  nop
  done

; From user code: onto the stack of the TSS.
; events: int(0x40)
; expect: e0.cs=USER_CODE64, e0.frame=INNER_STACK-40, e0.rsp=USER_STACK
external_from_user:
  apic_on
  send_self 0x40
  settle
  enter_user .user, IF | 2
.user:
  jmp .user

; The DPL of a gate does not matter to interrupts (here 0, from CPL 3).
; events: int(0x7f)
external_ignores_dpl:
  apic_on
  send_self 0x7f
  enter_user .user, IF | 2
.user:
  jmp .user

; A loop that only waits is interrupted.
; events: int(0x41)
; expect: rcx=0
timer_interrupts_loop:
  apic_on
  apic_write APIC_TIMER_DIVIDE, 0xb
  apic_write APIC_LVT_TIMER, 0x41
  apic_write APIC_TIMER_COUNT, 3000
  sti
.loop:
  jmp .loop

; A masked or disabled source gives nothing.
; expect: rax=0
masked:
  apic_write APIC_SVR, 0xff                     ; software-disabled
  send_self 0x40
  settle
  sti
  nop
  nop
  cli
  xor eax, eax
  done

; x2APIC mode: the ICR is one MSR, and so is the self-IPI.
; events: int(0x45)
; expect: rbx=0x45
x2apic:
  write_msr MSR_APIC_BASE, APIC | 0x900
  write_msr MSR_APIC_BASE, APIC | 0xd00
  write_msr 0x80f, 0x1ff
  write_msr 0x83f, 0x45
  mov ecx, 0x820 + 2                            ; IRR, vectors 40H–5FH
  rdmsr
  bsf ebx, eax
  add ebx, 0x40
  sti
  nop
  nop
  done
