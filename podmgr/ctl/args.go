package ctl

import "strings"

// FlagsFirst moves flags before the other arguments, as the command line parser wants them, so that `logs web -f` works
// as it does with kubectl. takesValue says whether a flag is known and is followed by a value; what comes after "--" and
// flags that are not known stay where they are. Short flags may be written together (-it) when none takes a value.
func FlagsFirst(args []string, takesValue func(name string) (known, value bool)) []string {
	var flags, rest []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		name, _, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
		known, value := takesValue(name)
		if letters := together(a, takesValue); !known && letters != nil {
			flags = append(flags, letters...)
			continue
		}
		if len(a) < 2 || a[0] != '-' || !known {
			rest = append(rest, a)
			continue
		}
		flags = append(flags, a)
		if value && !inline && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return append(flags, rest...)
}

// together splits -it into -i and -t; nil when it is something else.
func together(arg string, takesValue func(name string) (known, value bool)) (flags []string) {
	if len(arg) < 3 || arg[0] != '-' || arg[1] == '-' {
		return nil
	}
	for _, letter := range arg[1:] {
		if known, value := takesValue(string(letter)); !known || value {
			return nil
		}
		flags = append(flags, "-"+string(letter))
	}
	return flags
}
