package crash

import "syscall"

// childAttributes make the kernel end a child with the test, in whatever way that ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
