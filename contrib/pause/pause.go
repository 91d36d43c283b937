package pause

//go:generate ./build

// Binary returns the pause program for the architecture that this agent was built for. The caller owns the bytes; the
// file it writes them to needs mode 0755 and takes no arguments.
func Binary() []byte { return []byte(program) }
