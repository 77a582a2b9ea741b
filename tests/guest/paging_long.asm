; 4-level paging: rights, error codes, accessed and dirty bits, page sizes, reserved bits. Intel SDM vol. 3 §4.5–4.8 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

PAGE0 equ TEST_PAGES
PAGE1 equ TEST_PAGES + 0x1000
PAGE2 equ TEST_PAGES + 0x2000
RET_CODE equ 0xc3
; Their entries, for expectations.
PAGE0_PTE equ PTE(PAGE0)
PAGE1_PTE equ PTE(PAGE1)
PAGE2_PTE equ PTE(PAGE2)
SECOND_PDE equ PDE(SECOND_2M)
UNMAPPED_PDE equ PDE(UNMAPPED)
UNMAPPED2_PDE equ PDE(UNMAPPED + 0x200000)

; Calls code at an address where fetching faults; the recorder goes on behind it.
%macro fetch 1
  resume_at %%behind
  mov rax, %1
  call rax
%%behind:
  stop_at_next
%endmacro

; §4.7: P, W/R, U/S and I/D of the error code; CR2 has the linear address.
; events: #PF(0), #PF(2), #PF(0x10)@UNMAPPED+0x123
; expect: e0.cr2=UNMAPPED+8, e1.cr2=UNMAPPED+0xffc, e2.cr2=UNMAPPED+0x123, cr2=UNMAPPED+0x123
not_present:
  attempt mov rax, [UNMAPPED + 8]
  attempt mov [UNMAPPED + 0xffc], eax
  fetch UNMAPPED + 0x123
  done

; mode: long64 user
; events: #PF(4), #PF(6), #PF(0x14)@UNMAPPED+0x123, #PF(6), int(0x80)
; expect: e0.cr2=UNMAPPED+8, e1.cr2=UNMAPPED, e3.cr2=UNMAPPED
not_present_user:
  attempt mov rax, [UNMAPPED + 8]
  attempt mov [UNMAPPED], al
  fetch UNMAPPED + 0x123
  attempt lock inc dword [UNMAPPED]
  int 0x80

; A read-modify-write faults as a write, even where reading would already fault.
; events: #PF(2), #PF(3), #PF(2)
; expect: dword[PAGE0]=5
read_modify_write:
  mov dword [PAGE0], 5
  mov byte [PTE(PAGE0)], P | U
  invlpg [PAGE0]
  attempt inc dword [UNMAPPED]
  attempt xchg [PAGE0], eax
  attempt lock cmpxchg [UNMAPPED], ecx
  done

; events: #PF(3)
; expect: dword[PAGE0]=0, e0.cr2=PAGE0
supervisor_write_protected:
  mov byte [PTE(PAGE0)], P | U
  attempt mov dword [PAGE0], 1
  done

; With CR0.WP = 0 the supervisor writes everywhere; the page becomes dirty.
; expect: dword[PAGE0]=0x55, qword[PAGE0_PTE]=PAGE0|P|U|A|D
; events: #PF(3)
without_wp:
  mov byte [PTE(PAGE0)], P | U
  clear_cr cr0, CR0_WP
  mov dword [PAGE0], 0x55
  set_cr cr0, CR0_WP
  attempt mov dword [PAGE0], 0x66
  done

; mode: long64 user
; events: #PF(7), #PF(5), #PF(7), #PF(0x15)@PAGE1, int(0x80)
; expect: dword[PAGE0]=0, e1.cr2=PAGE1, rbx=0
user_rights:
  mov byte [PTE(PAGE0)], P | U
  mov byte [PTE(PAGE1)], P | W
  mov ebx, [PAGE0]
  attempt mov dword [PAGE0], 1
  attempt mov ebx, [PAGE1]
  attempt mov dword [PAGE1], 1
  fetch PAGE1
  int 0x80

; CR0.WP does not let user code write.
; events: #PF(7)@.write
; expect: dword[PAGE0]=0
user_write_without_wp:
  mov byte [PTE(PAGE0)], P | U
  clear_cr cr0, CR0_WP
  enter_user .write
.write:
  mov dword [PAGE0], 1

; A right must be given at every level: here the page directory takes it away from the whole 2 MiB.
; events: #PF(3), #PF(7)@.user
rights_of_upper_levels:
  mov byte [PDE(SECOND_2M)], P | U
  attempt mov dword [SECOND_2M], 1
  mov eax, [SECOND_2M]
  enter_user .user
.user:
  mov dword [SECOND_2M + 0x3000], 1

; events: #PF(5)@.user
; expect: e0.cr2=SECOND_2M+0x3000
user_right_of_upper_level:
  mov byte [PDE(SECOND_2M)], P | W
  mov eax, [SECOND_2M]
  enter_user .user
.user:
  mov eax, [SECOND_2M + 0x3000]

; ---- execute disable ----

; events: #PF(0x11)@PAGE0, #PF(0x15)@PAGE0
; expect: e0.cr2=PAGE0, rbx=0x1c3
execute_disable:
  mov dword [PAGE0], 0x1c3
  mov byte [PTE(PAGE0) + 7], 0x80
  invlpg [PAGE0]
  fetch PAGE0
  mov ebx, [PAGE0]
  enter_user .user
.user:
  mov rax, PAGE0
  jmp rax

; events: #PF(0x11)@SECOND_2M+0x5000
execute_disable_in_directory:
  mov byte [SECOND_2M + 0x5000], RET_CODE
  mov byte [PDE(SECOND_2M) + 7], 0x80
  mov rax, cr3
  mov cr3, rax
  fetch SECOND_2M + 0x5000
  done

; Without EFER.NXE bit 63 is reserved.
; events: #PF(9), #PF(0xb)
; expect: e0.cr2=PAGE0+4
execute_disable_reserved:
  mov byte [PTE(PAGE0) + 7], 0x80
  write_msr MSR_EFER, EFER_LME | EFER_SCE
  attempt mov eax, [PAGE0 + 4]
  attempt mov [PAGE0 + 4], eax
  done

; Without NXE and SMEP a fetch does not set I/D.
; events: #PF(0)@UNMAPPED
fetch_without_nxe:
  write_msr MSR_EFER, EFER_LME | EFER_SCE
  fetch UNMAPPED
  done

; events: #PF(0x10)@UNMAPPED
fetch_with_smep:
  write_msr MSR_EFER, EFER_LME | EFER_SCE
  make_supervisor
  set_cr cr4, CR4_SMEP
  fetch UNMAPPED
  done

; ---- accessed and dirty ----

; §4.8: every level gets A; only the page's own entry gets D, and only by a write.
; expect: qword[PAGE0_PTE]=PAGE0|P|W|U|A, qword[PAGE1_PTE]=PAGE1|P|W|U|A|D, qword[PAGE2_PTE]=PAGE2|P|W|U,
;    qword[SECOND_PDE]=PT+0x1000|P|W|U|A, qword[PDPT+8]=PD|P|W|U|A, qword[PAGING+8]=PDPT|P|W|U|A
accessed_and_dirty:
  mov eax, [PAGE0]
  mov [PAGE1], eax
  mov eax, [SECOND_2M]
  store8 PDPT + 8, PD | P | W | U
  store8 PAGING + 8, PDPT | P | W | U
  mov eax, [0x40000000 + DATA]
  mov rax, 0x8000000000 + DATA
  mov eax, [rax]
  done

; A read first, then a write: D follows although the translation is cached. Clearing D and INVLPG: it is set again.
; expect: rbx&0x60=0x20, rcx&0x60=0x60, rdx&0x60=0, rsi&0x60=0x60
dirty_after_accessed:
  mov eax, [PAGE0]
  mov rbx, [PTE(PAGE0)]
  mov [PAGE0], eax
  mov rcx, [PTE(PAGE0)]
  mov qword [PTE(PAGE0)], PAGE0 | P | W | U
  mov rdx, [PTE(PAGE0)]
  invlpg [PAGE0]
  mov [PAGE0], eax
  mov rsi, [PTE(PAGE0)]
  done

; A write that faults leaves the page clean.
; events: #PF(3)
; expect: qword[PAGE0_PTE]&D=0
no_dirty_on_fault:
  mov byte [PTE(PAGE0)], P | U
  attempt mov [PAGE0], eax
  done

; A fetch sets A.
; expect: qword[PAGE0_PTE]=PAGE0|P|W|U|A
accessed_by_fetch:
  mov byte [PAGE0], RET_CODE
  mov qword [PTE(PAGE0)], PAGE0 | P | W | U
  invlpg [PAGE0]
  mov eax, PAGE0
  call rax
  done

; ---- large pages ----

; expect: rax=0x1234, qword[UNMAPPED_PDE]=P|W|U|A|PS, qword[UNMAPPED2_PDE]=P|W|U|A|D|PS, dword[DATA+0x10]=0x77
page_2m:
  mov dword [DATA], 0x1234
  store8 PDE(UNMAPPED), P | W | U | PS
  store8 PDE(UNMAPPED + 0x200000), P | W | U | PS
  mov eax, [UNMAPPED + DATA]
  mov dword [UNMAPPED + 0x200000 + DATA + 0x10], 0x77
  done

; expect: rax=0x1234, qword[PDPT+8]=P|W|U|A|D|PS, dword[DATA+0x10]=0x77
page_1g:
  mov dword [DATA], 0x1234
  store8 PDPT + 8, P | W | U | PS
  mov eax, [0x40000000 + DATA]
  mov dword [0x40000000 + DATA + 0x10], 0x77
  done

; events: #PF(3), #PF(7)@.user
rights_of_2m_page:
  store8 PDE(UNMAPPED), P | U | PS
  attempt mov [UNMAPPED + DATA], eax
  enter_user .user
.user:
  mov [UNMAPPED + DATA], eax

; Bit 12 of a large page's entry is PAT, not an address bit.
; expect: rax=0x1234
pat_of_2m_page:
  mov dword [DATA], 0x1234
  store8 PDE(UNMAPPED), P | W | U | PS | 0x1000
  mov eax, [UNMAPPED + DATA]
  done

; ---- reserved bits (MAXPHYADDR is 40) ----

; events: #PF(9) x6, #PF(0xb), #PF(0x19)@PAGE0
; expect: e0.cr2=PAGE0+1
reserved_bits:
  store8 PTE(PAGE0), PAGE0 | P | W | U | 1 << 40
  attempt mov al, [PAGE0 + 1]
  store8 PTE(PAGE0), PAGE0 | P | W | U | 1 << 51
  attempt mov al, [PAGE0]
  store8 PDE(UNMAPPED), P | W | U | PS | 0x2000
  attempt mov al, [UNMAPPED]
  store8 PDE(UNMAPPED), P | W | U | PS | 0x100000
  attempt mov al, [UNMAPPED]
  store8 PDPT + 8, P | W | U | PS | 0x2000
  attempt mov al, [0x40000000]
  store8 PAGING + 8, PDPT | P | W | U | PS
  mov rbx, 0x8000000000
  attempt mov al, [rbx]
  attempt mov [PAGE0], al
  fetch PAGE0
  done

; mode: long64 user
; events: #PF(0xd), #PF(0xf), int(0x80)
reserved_bits_user:
  store8 PTE(PAGE0), PAGE0 | P | W | U | 1 << 45
  attempt mov al, [PAGE0]
  attempt mov [PAGE0], al
  int 0x80

; An entry that is not present has no reserved bits; ignored bits are ignored.
; events: #PF(0)
; expect: rbx=7
ignored_bits:
  mov dword [PAGE1], 7
  store8 PTE(PAGE0), PAGE0 | W | U | 1 << 45
  attempt mov al, [PAGE0]
  store8 PTE(PAGE1), PAGE1 | P | W | U | 0xe00 | 0x7ff << 52
  invlpg [PAGE1]
  mov ebx, [PAGE1]
  done

; A reserved bit is found before rights are looked at; not-present entries further down do not matter.
; events: #PF(9)
reserved_above_absent:
  store8 PDE(UNMAPPED), FREE_TABLES | P | W | U | 1 << 41
  attempt mov al, [UNMAPPED]
  done

; ---- accesses that span pages ----

; Nothing is stored if the second page refuses; CR2 is the second page's first byte.
; events: #PF(2), #PF(0), #PF(3)
; expect: e0.cr2=PAGE1, e1.cr2=PAGE1, e2.cr2=PAGE0+0xffe, dword[PAGE0+0xffc]=0, qword[PAGE1]=0
store_across_pages:
  mov rax, -1
  mov byte [PTE(PAGE1)], 0
  attempt mov [PAGE0 + 0xffe], rax
  attempt mov rbx, [PAGE0 + 0xffe]
  mov byte [PTE(PAGE1)], P | W | U
  mov byte [PTE(PAGE0)], P | U
  invlpg [PAGE0]
  attempt mov [PAGE0 + 0xffe], rax
  done

; Frames that are not neighbours.
; expect: rax=0x8877665544332211, dword[PAGE2+4]=0x88776655, dword[PAGE0+0xffc]=0x44332211
across_pages:
  mov qword [PTE(PAGE1)], PAGE2 | P | W | U
  mov rax, 0x8877665544332211
  mov [PAGE0 + 0xffc], rax
  mov rbx, [PAGE2]
  mov [PAGE2 + 4], ebx
  mov rax, [PAGE0 + 0xffc]
  done

; An instruction whose bytes span pages: the fault is the second page's, RIP the instruction's. Then it is there.
; events: #PF(0x10)@PAGE0+0xffe
; expect: e0.cr2=PAGE1, rbx=0x12345678
fetch_across_pages:
  mov word [PAGE0 + 0xffe], 0x78bb              ; mov ebx, 0x12345678; ret
  mov dword [PAGE1], 0xc3123456
  mov byte [PTE(PAGE1)], 0
  invlpg [PAGE1]
  fetch PAGE0 + 0xffe
  mov byte [PTE(PAGE1)], P | W | U
  mov rax, PAGE0 + 0xffe
  call rax
  done

; events: #PF(0x11)@PAGE0+0xffe
; expect: e0.cr2=PAGE1
fetch_across_into_nx:
  mov word [PAGE0 + 0xffe], 0x78bb
  mov byte [PTE(PAGE1) + 7], 0x80
  fetch PAGE0 + 0xffe
  done

; An instruction that ends with its page does not touch the next.
; expect: rbx=0x11
fetch_up_to_the_end:
  mov dword [PAGE0 + 0xffc], 0xc311b390         ; nop; mov bl, 0x11; ret
  mov byte [PTE(PAGE1)], 0
  mov eax, PAGE0 + 0xffc
  call rax
  done

; ---- canonical addresses: no page fault ----

; The stack pointer that a POP refuses does not serve the delivery of #SS either.
; events: #GP(0), #GP(0), #SS(0), #DF(0), #GP(0), #GP(0)
non_canonical:
  mov rax, 0x0000800000000000
  attempt mov bl, [rax]
  mov rax, 0xffff7fffffffffff
  attempt mov [rax], bl
  mov rbp, 0x0000800000000000
  attempt mov bl, [rbp]
  mov rdx, rsp
  mov rsp, 0x0000800000000004
  attempt pop rbx
  mov rsp, rdx
  mov rax, 0x00007ffffffffffc
  attempt mov rbx, [rax]
  mov rax, 0x0000800000000000
  attempt jmp rax
  done

; The upper half is as good as the lower.
; expect: rax=0x99
upper_half:
  mov dword [DATA], 0x99
  store8 PAGING + 0xff8, PDPT | P | W | U
  store8 PDPT + 0xff8, PD | P | W | U
  mov rbx, -0x40000000 + DATA
  mov eax, [rbx]
  done

; ---- implicit supervisor accesses ----

; Descriptor tables are read with supervisor rights, also for user code: the error code does not say U.
; events: #PF(0)@.load
; expect: e0.cr2=PAGE1+FREE-0x58, e0.cs=USER_CODE64, fs=USER_DATA, gs=0
descriptor_table_access:
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, RIGHTS_DATA | BIG | GRANULAR | DPL3)
  mov rsi, gdt
  mov edi, PAGE1 - 0x58                         ; what is above the LDT lies in PAGE1
  mov ecx, GDT_LIMIT + 1
  rep movsb
  lgdt [.pointer]
  mov byte [PTE(PAGE0)], P | W
  invlpg [PAGE0]
  mov byte [PTE(PAGE1)], 0
  invlpg [PAGE1]
  enter_user .user
.user:
  mov ax, USER_DATA
  mov fs, ax
  mov ax, FREE | 3
.load:
  mov gs, ax
.pointer:
  dw GDT_LIMIT
  dq PAGE1 - 0x58

; Setting the accessed bit in a descriptor is a supervisor write, which CR0.WP stops.
; events: #PF(3)
; expect: e0.cr2=PAGE0+FREE+5, byte[PAGE0+FREE+5]=0x92, fs=FLAT
descriptor_accessed_bit:
  store8 gdt + FREE, DESCRIPTOR(0, 0xfffff, (RIGHTS_DATA & ~1) | BIG | GRANULAR)
  mov rsi, gdt
  mov edi, PAGE0
  mov ecx, GDT_LIMIT + 1
  rep movsb
  mov byte [PTE(PAGE0)], P
  invlpg [PAGE0]
  lgdt [.pointer]
  mov ax, FREE
  attempt mov fs, ax
  done
.pointer:
  dw GDT_LIMIT
  dq PAGE0
