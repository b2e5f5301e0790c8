package postgres

import "syscall"

// endWithParent has a process told to stop when the thread that starts it ends.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
