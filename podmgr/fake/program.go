package fake

import (
	"strconv"
	"time"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// Program is what a container does once it is started.
type Program struct {
	// Ends says that it ends by itself, After it was started, with Code.
	Ends  bool
	After time.Duration
	Code  int32
	// StopTakes is how long it needs to end when it is sent TERM (it then exits 0). Stubborn: it never does.
	StopTakes time.Duration
	Stubborn  bool
	// OOM says that the kernel killed a process of it for want of memory.
	OOM bool
	// Unstartable makes the engine create an instance that ends with StartError.
	Unstartable bool
}

// ProgramOf reads a container's command: {"run"} runs until TERM, {"stubborn"} until KILL, {"exit", CODE} ends at once
// and {"exit", CODE, DURATION} after a while; {"hog", CODE} does so after it has lost a process for want of memory. Anything
// else runs until TERM.
func ProgramOf(c *v1.Container) Program { return programOf(c.Command) }

func programOf(command []string) Program {
	if len(command) == 0 {
		return Program{}
	}
	switch command[0] {
	case "stubborn":
		return Program{Stubborn: true}
	case "exit", "hog":
		p := Program{Ends: true, OOM: command[0] == "hog"}
		if len(command) > 1 {
			code, _ := strconv.Atoi(command[1])
			p.Code = int32(code)
		}
		if len(command) > 2 {
			p.After, _ = time.ParseDuration(command[2])
		}
		return p
	}
	return Program{}
}

func (r *Runtime) program(p *manifests.Pod, spec *v1.Container, attempt int) Program {
	if r.Program != nil {
		return r.Program(p, spec.Name, attempt)
	}
	return ProgramOf(spec)
}
