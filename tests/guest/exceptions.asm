; Every exception's vector, error code, RIP and RF; faults while events are delivered. Intel SDM vol. 3 §6.5, §6.13–6.15 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

; ---- one of each ----

; events: #DE@.zero, #DE@.overflow
; expect: e0.rflags&RF=RF, rax=0x8000000000000000
divide_error:
bits 64
  resume_at .next
  xor ecx, ecx
.zero:
  div ecx
.next:
  resume_at .end
  mov rax, 1 << 63
  cqo
  mov rcx, -1
.overflow:
  idiv rcx
.end:
  done

; INT3, INTO, INT1 are traps: RIP is behind them, RF is clear. INT1 is #DB without bits in DR6.
; mode: protected32
; events: #BP@.after3, #OF@.after4, #DB@.after1
; expect: e0.rflags&RF=0, e1.rflags&RF=0, e2.rflags&RF=0, e2.dr6=0xffff0ff0
traps_32:
bits 32
  go_on
  int3
.after3:
  mov al, 0x7f
  inc al
  into
.after4:
  db 0xf1
.after1:
  xor eax, eax
  into
  done

; mode: long64 user
; events: #BP@.after3, #DB@.after1, #UD, #GP(0x1a), int(0x80)
traps_user:
bits 64
  mov dword [RESUME], .next
  int3
.after3:
.next:
  mov dword [RESUME], .next2
  db 0xf1                                       ; no privilege is needed
.after1:
.next2:
  attempt db 0xce                               ; INTO does not exist here
  mov byte [IDT + 3 * 16 + 5], RIGHTS_INT
  attempt int3                                  ; but a gate's DPL counts: here 0
  int 0x80

; mode: protected32
; events: #BR@.below, #BR@.above
; expect: e0.rflags&RF=RF
bound_range:
bits 32
  mov dword [DATA], -5
  mov dword [DATA + 4], 5
  mov eax, -5
  bound eax, [DATA]
  mov eax, 5
  bound eax, [DATA]
  resume_at .next
  mov eax, -6
.below:
  bound eax, [DATA]
.next:
  resume_at .end
  mov eax, 6
.above:
  bound eax, [DATA]
.end:
  done

; UD0, UD1, UD2; undefined encodings; LOCK where it may not be; too long.
; events: #UD x7, #GP(0)
invalid_opcode:
bits 64
  attempt ud2
  attempt db 0x0f, 0xb9, 0xc0                   ; UD1
  attempt db 0x0f, 0xff, 0xc0                   ; UD0
  attempt db 0x06                               ; PUSH ES in 64-bit mode
  attempt db 0xf0, 0x01, 0xc0                   ; LOCK with a register destination
  attempt db 0xf0, 0x8b, 0x04, 0x25, 0, 0, 1, 0 ; LOCK MOV
  attempt db 0xfe, 0xf8
  attempt db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
  done

; Fifteen bytes are allowed.
; expect: rbx=0x12345678
longest_instruction:
bits 64
  db 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0xbb, 0x78, 0x56, 0x34, 0x12
  done

; An invalid opcode is one at any privilege.
; mode: long64 user
; events: #UD, #UD, int(0x80)
invalid_before_privileged:
bits 64
  attempt db 0xf0, 0x0f, 0x22, 0xc0             ; LOCK MOV CR0, RAX
  attempt db 0x0f, 0x20, 0xc8                   ; MOV RAX, CR1
  int 0x80

; CR0.TS: #NM; x87 errors: #MF at the next waiting instruction; SSE errors: #XM at once.
; events: #NM, #MF@.wait, #XM@.sse
device_and_float_errors:
bits 64
  set_cr cr0, CR0_TS
  attempt fnop
  clts
  fninit
  mov dword [DATA], 0x037b                      ; zero-divide unmasked
  fldcw [DATA]
  fld1
  fldz
  fdivp
  resume_at .next
.wait:
  fnop
.next:
  fninit
  mov dword [DATA], 0x1d80
  ldmxcsr [DATA]
  mov eax, 0x3f800000
  movd xmm0, eax
  pxor xmm1, xmm1
  resume_at .end
.sse:
  divss xmm0, xmm1
.end:
  done

; Alignment: only at CPL 3, with CR0.AM and RFLAGS.AC; the error code is 0.
; events: #AC(0)@.misaligned, int(0x80)
; expect: rbx=0
alignment_check:
bits 64
  set_cr cr0, CR0_AM
  push AC | 2
  popfq
  mov eax, [DATA + 1]                           ; CPL 0
  enter_user .user, AC | 2
.user:
  mov eax, [DATA + 4]
  mov al, [DATA + 1]
  mov rax, [DATA + 8]
  resume_at .next
.misaligned:
  mov eax, [DATA + 2]
.next:
  int 0x80

; Without AC, or without AM, nothing happens. Word and quadword alignment.
; events: #AC(0), #AC(0), #AC(0), int(0x80)
alignment_check_sizes:
bits 64
  set_cr cr0, CR0_AM
  enter_user .user, 2
.user:
  mov eax, [DATA + 1]
  push AC | 2
  popfq
  attempt mov ax, [DATA + 1]
  attempt mov rax, [DATA + 4]
  attempt mov [DATA + 1], ax
  push 2
  popfq
  mov ax, [DATA + 1]
  int 0x80

; mode: protected32 user
; events: int(0x80)
nothing_without_am:
bits 32
  push dword AC | 2
  popfd
  mov eax, [DATA + 1]
  int 0x80

; ---- real mode: no error codes, IP of the fault ----

; mode: real16
; events: #DE@.divide, #UD@.bad, #OF@.after, #GP@.word, #SS@.stack, #BR@.bound
real_mode:
bits 16
  resume_at .n1
  xor cx, cx
.divide:
  div cx
.n1:
  resume_at .n2
.bad:
  ud2
.n2:
  resume_at .n3
  mov al, 0x7f
  inc al
  into
.after:
.n3:
  resume_at .n4
.word:
  mov ax, [0xffff]
.n4:
  resume_at .n5
  mov bp, 0xffff
.stack:
  mov ax, [bp]
.n5:
  resume_at .n6
  mov dword [0x7800], 0
  mov ax, 1
.bound:
  bound ax, [0x7800]
.n6:
  done

; A vector beyond the limit of the IDT.
; mode: real16
; events: #GP@.far
real_mode_idt_limit:
bits 16
  mov word [0x7800], 0x7f
  mov dword [0x7802], 0
  lidt [0x7800]
  resume_at .end
.far:
  int 0x20
.end:
  done

; No entry for #GP and then none for the double fault.
; mode: real16
; exit: triple_fault
; expect: rax=1
real_mode_shutdown:
bits 16
  mov word [0x7800], 0x1f
  mov dword [0x7802], 0
  mov ax, 1
  lidt [0x7800]
  int 0x20
  mov ax, 2
  done

; ---- gates ----

; INT n: privilege of the gate, presence, type, limit. The error code has IDT and, as it is the program's doing, no EXT.
; mode: long64 user
; events: #GP(0x102), #NP(0x40a), #GP(0x412), #GP(0x41a), #GP(0x32), #GP(0xfa), int(0x80)
software_interrupt_gates:
bits 64
  attempt int 0x20
  mov byte [IDT + 0x81 * 16 + 5], (RIGHTS_INT | DPL3) & ~PRESENT
  attempt int 0x81
  mov byte [IDT + 0x82 * 16 + 5], RIGHTS_CALL | DPL3
  attempt int 0x82
  mov byte [IDT + 0x83 * 16 + 5], RIGHTS_TASK | DPL3
  attempt int 0x83
  attempt int 0x06
  attempt int 0x1f
  int 0x80

; What a gate points to: null, outside, data, 32-bit code, outward, not present, offset not canonical.
; events: #GP(0), #GP(BEYOND), #GP(FLAT), #GP(CODE32), #GP(USER_CODE64-3), #NP(FREE), #GP(0)
gate_targets:
bits 64
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, (RIGHTS_CODE & ~PRESENT) | CODE_LONG | GRANULAR)
  %macro try_target 1
    mov word [IDT + 0x90 * 16 + 2], %1
    attempt int 0x90
  %endmacro
  try_target 0
  try_target BEYOND
  try_target FLAT
  try_target CODE32
  try_target USER_CODE64
  try_target FREE
  mov byte [IDT + 0x90 * 16 + 11], 0x80
  try_target CODE64
  done

; mode: protected32
; events: #GP(0), #GP(FLAT), #GP(RING1_CODE-1), #NP(ABSENT_CODE), #GP(0), #GP(0x482), #GP(0x3fa)
gate_targets_32:
bits 32
  %macro try_target32 1
    mov word [IDT + 0x90 * 8 + 2], %1
    attempt int 0x90
  %endmacro
  try_target32 3
  try_target32 FLAT
  try_target32 RING1_CODE
  try_target32 ABSENT_CODE
  store8 gdt + FREE, DESCRIPTOR(0, 0xfff, RIGHTS_CODE | BIG)
  try_target32 FREE                             ; the stub is beyond the limit
  mov byte [IDT + 0x90 * 8 + 5], RIGHTS_CALL
  try_target32 CODE32
  mov word [DATA], 0x7f * 8 + 6                 ; the entry of 7FH lacks its last byte
  mov dword [DATA + 2], IDT
  lidt [DATA]
  attempt int 0x7f
  done

; 16-bit gates push words; trap gates leave IF.
; mode: protected32
; events: int(0x80)
; expect: eax=KERNEL_STACK-6, word[KERNEL_STACK-6]=.back, word[KERNEL_STACK-4]=CODE32, word[KERNEL_STACK-2]&IF=IF, e0.rflags&IF=IF
gate_16:
bits 32
  store_gate IDT + 0x90 * 8, CODE32, .handler, RIGHTS_TRAP16
  mov byte [IDT + 0x80 * 8 + 5], RIGHTS_TRAP
  cli
  push dword IF | 2
  popfd
  int 0x90
.back:
.handler:
  mov eax, esp
  int 0x80

; IF, TF, NT and RF on the way in: an interrupt gate clears IF.
; events: int(0x80), int(0x81)
; expect: e0.rflags&IF|NT=IF|NT, rbx&IF|NT|TF|RF=0, rcx&IF|NT=IF
flags_of_handlers:
bits 64
  mov word [IDT + 0x90 * 16], .interrupt
  mov word [IDT + 0x91 * 16], .trap
  mov byte [IDT + 0x91 * 16 + 5], RIGHTS_TRAP
  go_on
  push IF | NT | 2
  popfq
  int 0x80
  push IF | NT | 2
  popfq
  int 0x90
.interrupt:
  pushfq
  pop rbx
  push IF | NT | 2
  popfq
  int 0x91
.trap:
  pushfq
  pop rcx
  cli
  stop_at_next
  int 0x81

; ---- faults during delivery ----

; A benign event's fault is just delivered, with EXT if the event was not INT n.
; events: #NP(0x33)@.bad
fault_in_ud:
bits 64
  and byte [IDT + 6 * 16 + 5], ~PRESENT & 0xff
.bad:
  ud2

; events: #GP(0x33)@.bad
wrong_gate_for_ud:
bits 64
  mov byte [IDT + 6 * 16 + 5], RIGHTS_CALL
.bad:
  ud2

; Contributory in contributory: a double fault with error code 0.
; events: #DF(0)@.bad
; expect: e0.frame=IST1_STACK-48, e0.rsp=KERNEL_STACK
double_fault_contributory:
bits 64
  and byte [IDT + 13 * 16 + 5], ~PRESENT & 0xff
  mov rax, 1 << 63
.bad:
  mov [rax], al

; events: #DF(0)@.bad
double_fault_divide:
bits 64
  and byte [IDT + 5], ~PRESENT & 0xff
  xor ecx, ecx
.bad:
  div ecx

; Page fault, then contributory; page fault, then page fault.
; events: #DF(0)@.bad
; expect: e0.cr2=UNMAPPED+5
double_fault_page_then_contributory:
bits 64
  and byte [IDT + 14 * 16 + 5], ~PRESENT & 0xff
.bad:
  mov al, [UNMAPPED + 5]

; events: #DF(0)@.bad
; expect: e0.cr2=UNMAPPED-8
double_fault_page_page:
bits 64
  mov rsp, UNMAPPED
  mov byte [PTE(UNMAPPED - 0x1000)], 0
  invlpg [UNMAPPED - 0x1000]
.bad:
  mov al, [UNMAPPED + 5]

; Contributory, then a page fault: no double fault, the page fault is delivered. The IDT lies across two pages, up to vector 13 in the
; one that is not there.
; events: #PF(0)@.bad
; expect: e0.cr2=TEST_PAGES+0x1000-16
contributory_then_page_fault:
bits 64
  mov esi, IDT
  mov edi, TEST_PAGES + 0x1000 - 14 * 16
  mov ecx, 0x1000
  rep movsb
  mov byte [PTE(TEST_PAGES)], 0
  invlpg [TEST_PAGES]
  mov word [DATA], 0xfff
  mov qword [DATA + 2], TEST_PAGES + 0x1000 - 14 * 16
  lidt [DATA]
  mov rax, 1 << 63
.bad:
  mov [rax], al

; Benign, then a page fault; page fault, then benign is simply served (no such pair here).
; events: #PF(0)@.bad
benign_then_page_fault:
bits 64
  mov esi, IDT
  mov edi, TEST_PAGES + 0x1000 - 14 * 16
  mov ecx, 0x1000
  rep movsb
  mov byte [PTE(TEST_PAGES)], 0
  invlpg [TEST_PAGES]
  mov word [DATA], 0xfff
  mov qword [DATA + 2], TEST_PAGES + 0x1000 - 14 * 16
  lidt [DATA]
.bad:
  ud2

; A fault in the delivery of a double fault: shutdown.
; exit: triple_fault
; expect: rax=0x8000000000000000, rip=.bad
triple_fault:
bits 64
  and byte [IDT + 13 * 16 + 5], ~PRESENT & 0xff
  and byte [IDT + 8 * 16 + 5], ~PRESENT & 0xff
  mov rax, 1 << 63
.bad:
  mov [rax], al

; exit: triple_fault
triple_fault_empty_idt:
bits 64
  mov word [DATA], 0
  lidt [DATA]
  int3

; mode: protected32
; exit: triple_fault
triple_fault_stack:
bits 32
  xor eax, eax
  mov esp, eax
  store8 gdt + FREE, DESCRIPTOR(0, 0xfff, RIGHTS_DATA | 4 | BIG)
  mov ax, FREE
  mov ss, ax
  mov esp, 0x800
  push eax

; Whatever fails in delivery leaves the interrupted program as it was: here the stack of the TSS is not there.
; events: #PF(2)@.call
; expect: e0.cs=USER_CODE64, e0.rsp=USER_STACK, e0.rflags=ZF|CF|RF|2, e0.cr2=UNMAPPED-8, rbx=0x1234, e0.frame=IST2_STACK-48
delivery_leaves_state:
bits 64
  mov byte [IDT + 14 * 16 + 4], 2
  mov dword [tss + 4], UNMAPPED
  mov byte [PTE(UNMAPPED - 0x1000)], 0
  mov ebx, 0x1234
  enter_user .user, ZF | CF | 2
.user:
.call:
  int 0x80

; In the middle of a frame: the first words fit, the rest meets an absent page.
; events: #PF(2)@.call
; expect: e0.rsp=TEST_PAGES+0x1010, e0.cr2=TEST_PAGES+0xff8
delivery_half_way:
bits 64
  mov byte [IDT + 14 * 16 + 4], 2
  mov byte [PTE(TEST_PAGES)], 0
  mov rsp, TEST_PAGES + 0x1010
.call:
  int 0x80

; mode: protected32 user
; events: #NP(0x402), #TS(0), int(0x81)
; expect: e0.cs=USER_CODE32, e0.rsp=USER_STACK, e1.rsp=USER_STACK, e1.cs=USER_CODE32
delivery_leaves_state_32:
bits 32
  and byte [IDT + 0x80 * 8 + 5], ~PRESENT & 0xff
  attempt int 0x80
  store_gate IDT + 0x90 * 8, RING1_CODE, .end, RIGHTS_INT | DPL3
  mov word [tss + 16], 0
  attempt int 0x90
.end:
  int 0x81
