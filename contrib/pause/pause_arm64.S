// The pod's pause for arm64: holds the namespaces, reaps orphans, ends on SIGTERM and SIGINT. See doc.go.
	.globl	_start
	.text
_start:
	mov	x9, #0x4002		// SIGINT (2), SIGTERM (15), SIGCHLD (17): bit n-1 for signal n
	movk	x9, #0x1, lsl #16
	str	x9, [sp, #-16]!
	mov	x0, #2			// SIG_SETMASK
	mov	x1, sp
	mov	x2, #0
	mov	x3, #8			// sizeof(sigset_t)
	mov	x8, #135		// rt_sigprocmask
	svc	#0
reap:					// wait4(-1, NULL, WNOHANG, NULL) until nobody is left to reap
	mov	x0, #-1
	mov	x1, #0
	mov	x2, #1
	mov	x3, #0
	mov	x8, #260		// wait4
	svc	#0
	cmp	x0, #0
	b.gt	reap
	mov	x0, sp			// rt_sigtimedwait(&set, NULL, NULL, 8): blocks until one of the three comes
	mov	x1, #0
	mov	x2, #0
	mov	x3, #8
	mov	x8, #137		// rt_sigtimedwait
	svc	#0
	cmp	x0, #2
	b.eq	end
	cmp	x0, #15
	b.ne	reap			// SIGCHLD, or EINTR after a stop and continue
end:
	mov	x0, #0
	mov	x8, #94			// exit_group
	svc	#0
	.section .note.GNU-stack,"",%progbits
