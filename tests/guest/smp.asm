; Code that another processor changes, with the handshake that the architecture asks for. Intel SDM vol. 3 §9.1.3 (edition 085).
;
; The second processor keeps calling a function. The first changes it and says so in ROUND; the second then serializes, calls it once more
; and answers with RESULT and SEEN. From then on nothing old may come: RBX counts what was old. Between the change and the handshake either
; is right, and that is when caches of decoded code are put to the test.
; mode: long64
; cpus: 2
; budget: 20000000000
%include "guest.inc"
bits 64

FUNCTION equ TEST_PAGES
ROUND    equ DATA               ; written by the first
SEEN     equ DATA + 0x40        ; by the second
RESULT   equ DATA + 0x80
TAKEN    equ DATA + 0xc0        ; interrupts that the second has taken
STARTED  equ DATA + 0x100

; Starts the second processor at a label that says `second_started`. Its way there fills the IDT and the page tables again, so that whatever
; is special about them comes after this.
%macro start_second 1
  start_processor 1, %1
  %%wait:
  pause
  cmp dword [STARTED], 1
  jne %%wait
%endmacro
%macro second_started 0
  mov dword [STARTED], 1
%endmacro

; What the second processor does. Its function is at RSI.
%macro call_again_and_again 0
  %%again:
  call rsi
  mov ecx, [ROUND]
  cmp ecx, [SEEN]
  je %%again
  serialize
  call rsi
  mov [RESULT], eax
  mov [SEEN], ecx
  jmp %%again
%endmacro

; The first: round ECX is over when the second has answered; the answer was EDX, or RBX counts one more.
%macro hand_over 0
  mov [ROUND], ecx
  %%wait:
  pause
  cmp ecx, [SEEN]
  jne %%wait
  xor eax, eax
  cmp edx, [RESULT]
  setne al
  add ebx, eax
%endmacro

; `%1` rounds; in each `%2` makes the function at RSI return DL, the round's number modulo 128.
%macro rounds 2+
  mov esi, FUNCTION
  xor ecx, ecx
  %%round:
  inc ecx
  mov edx, ecx
  and edx, 0x7f
  %2
  hand_over
  cmp ecx, %1
  jb %%round
  done
%endmacro

; A second processor that calls the function while `rounds` go on.
%macro start_calls 0
  mov dword [FUNCTION], RETURNS(0)
  start_second %%other
  jmp %%started
  %%other:
  second_started
  mov esi, FUNCTION
  call_again_and_again
  %%started:
%endmacro
%macro modified_by 2+
  start_calls
  rounds %1, %2
%endmacro

; ---- kinds of stores ----

; expect: rbx=0, rcx=100
by_byte:
  modified_by 100, mov [rsi + 1], dl

; expect: rbx=0, rcx=100
by_dword:
  %macro store_function 0
    mov eax, edx
    shl eax, 8
    or eax, RETURNS(0)
    mov [rsi], eax
  %endmacro
  modified_by 100, store_function

; expect: rbx=0, rcx=100
by_locked:
  %macro exchange 0
    mov eax, edx
    xchg [rsi + 1], al
  %endmacro
  modified_by 100, exchange

; expect: rbx=0, rcx=100
by_string:
  %macro store_string 0
    mov r8d, ecx
    lea rdi, [rsi + 1]
    mov eax, edx
    mov ecx, 1
    rep stosb
    mov ecx, r8d
  %endmacro
  modified_by 100, store_string

; expect: rbx=0, rcx=100
by_vector:
  %macro store_vector 0
    mov eax, edx
    shl eax, 8
    or eax, RETURNS(0)
    movd xmm0, eax
    movups [rsi], xmm0
  %endmacro
  modified_by 100, store_vector

; Through another mapping of the frame, and through a large page.
; expect: rbx=0, rcx=100
by_alias:
  start_calls
  mov qword [PTE(FUNCTION + 0x1000)], FUNCTION | P | W | U
  invlpg [FUNCTION + 0x1000]
  rounds 100, mov [rsi + 0x1001], dl

; expect: rbx=0, rcx=100
by_alias_2m:
  start_calls
  store8 PDE(UNMAPPED), P | W | U | PS
  rounds 100, mov [UNMAPPED + FUNCTION + 1], dl

; A device writes while the function runs elsewhere.
; expect: rbx=0, rcx=100
by_dma:
  %macro store_by_dma 0
    mov r8d, edx
    mov dx, LAB_DMA_ADDRESS
    mov eax, FUNCTION
    out dx, eax
    mov dx, LAB_DMA_DATA
    mov eax, r8d
    shl eax, 8
    or eax, RETURNS(0)
    out dx, eax
    mov edx, r8d
  %endmacro
  modified_by 100, store_by_dma

; The store comes long after a load of the same page: an engine may have looked then at what the page holds. The byte is stored twice, so
; that the second store finds the function being decoded anew, at ever different moments.
; expect: rbx=0, rcx=300
by_late_store:
  %macro store_late 0
    mov byte [rsi + 1], 0
    imul edi, ecx, 37
    and edi, 0xfff
    cvtsi2sd xmm0, ecx
    %%delay:
    dec edi
    jns %%delay
    mov eax, [rsi + 0x80]
    %rep 18
      sqrtsd xmm0, xmm0
    %endrep
    mov [rsi + 1], dl
  %endmacro
  modified_by 300, store_late

; Each round changes the very next instruction, while the second keeps storing beside it: the block that runs is stale at any moment.
; expect: rbx=0, rcx=2000
page_with_two_writers:
  start_second .other
  xor ecx, ecx
.round:
  inc ecx
  mov edx, ecx
  mov [rel .changed + 1], dl
.changed:
  mov al, 0
  cmp al, dl
  setne al
  movzx eax, al
  add ebx, eax
  cmp ecx, 2000
  jb .round
  done
.elsewhere:
  dd 0
.other:
  second_started
.store:
  inc dword [rel .elsewhere]
  jmp .store

; ---- where the code is ----

; An instruction that spans two pages, changed in the one and in the other.
%macro modified_across_pages 1
  mov byte [FUNCTION + 0xffd], 0xb8             ; mov eax, imm32
  mov byte [FUNCTION + 0x1002], 0xc3
  start_second %%other
  rounds 100, mov [FUNCTION + %1], dl
  %%other:
  second_started
  mov esi, FUNCTION + 0xffd
  %%again:
  call rsi
  %if %1 > 0x1000
    shr eax, 24
  %endif
  mov ecx, [ROUND]
  cmp ecx, [SEEN]
  je %%again
  serialize
  call rsi
  %if %1 > 0x1000
    shr eax, 24
  %endif
  mov [RESULT], eax
  mov [SEEN], ecx
  jmp %%again
%endmacro

; expect: rbx=0, rcx=100
first_half:
  modified_across_pages 0xffe

; expect: rbx=0, rcx=100
second_half:
  modified_across_pages 0x1001

; ---- with interrupts, as operating systems do it ----

; The second processor takes the vector 91H at `%1`, which counts in TAKEN and serializes.
%macro second_takes_interrupts 1
  mov word [IDT + 0x91 * 16], %1
%endmacro
%macro interrupt_second 0
  mov r8d, [TAKEN]
  inc r8d
  apic_write APIC_ICR_HIGH, 1 << 24
  apic_write APIC_ICR, 0x91 | ICR_ASSERT
  %%wait:
  pause
  cmp r8d, [TAKEN]
  jne %%wait
%endmacro
%macro enable_interrupts_of_second 0
  apic_write APIC_SVR, 0x1ff
  sti
  second_started
%endmacro
%macro interrupt_taken 0
  push rdi
  apic_write APIC_EOI, 0
  pop rdi
  lock inc dword [TAKEN]
  iretq
%endmacro

; Five bytes become a jump and a no-operation again, behind a breakpoint: how kernels switch code that runs. Linux, text_poke_bp.
; expect: rbx=0, rcx=100
behind_a_breakpoint:
  mov rax, [.no_operation]
  mov [FUNCTION], rax
  mov dword [FUNCTION + 5], RETURNS(1)
  mov dword [FUNCTION + 8], RETURNS(2)
  start_second .other
  second_takes_interrupts .serialize
  mov word [IDT + 3 * 16], .breakpoint
  mov esi, FUNCTION
  xor ecx, ecx
.round:
  inc ecx
  mov edx, ecx
  and edx, 1
  mov r9, [.no_operation + rdx * 8]
  inc edx
  mov byte [rsi], 0xcc
  interrupt_second
  mov rax, r9
  shr rax, 8
  mov [rsi + 1], eax
  interrupt_second
  mov [rsi], r9b
  interrupt_second
  hand_over
  cmp ecx, 100
  jb .round
  done
align 8
.no_operation:
  db 0x0f, 0x1f, 0x44, 0, 0, 0, 0, 0
  db 0xe9, 3, 0, 0, 0, 0, 0, 0
.other:
  enable_interrupts_of_second
  mov esi, FUNCTION
  xor eax, eax
  call_again_and_again
.serialize:
  serialize
  interrupt_taken
.breakpoint:
  add qword [rsp], 4                            ; as the no-operation
  iretq

; The page under the function is another frame from now on, and the processor that runs there is told so by an interrupt.
%macro remapped_by 2    ; rounds, how the second drops what it knows
  mov dword [FUNCTION], RETURNS(2)
  mov dword [FUNCTION + 0x1000], RETURNS(0)
  mov dword [FUNCTION + 0x2000], RETURNS(1)
  start_second %%other
  second_takes_interrupts %%shootdown
  xor ecx, ecx
  %%round:
  inc ecx
  mov edx, ecx
  and edx, 1
  mov eax, edx
  shl eax, 12
  add eax, FUNCTION + 0x1000 | P | W | U
  mov [PTE(FUNCTION)], eax
  interrupt_second
  hand_over
  cmp ecx, %1
  jb %%round
  done
  %%other:
  enable_interrupts_of_second
  mov esi, FUNCTION
  xor eax, eax
  call_again_and_again
  %%shootdown:
  push rax
  %2
  pop rax
  interrupt_taken
%endmacro

; expect: rbx=0, rcx=100
remapped_invlpg:
  remapped_by 100, invlpg [FUNCTION]

; expect: rbx=0, rcx=100
remapped_mov_cr3:
  %macro load_cr3_again 0
    mov rax, cr3
    mov cr3, rax
  %endmacro
  remapped_by 100, load_cr3_again
