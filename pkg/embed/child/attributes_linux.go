package child

import "syscall"

// attributes make the kernel kill the process when this one ends in whatever way.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
