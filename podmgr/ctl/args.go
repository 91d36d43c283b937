package ctl

import "strings"

// FlagsFirst moves flags before the other arguments, as the command line parser wants them, so that `logs web -f` works
// as it does with kubectl. takesValue says whether a flag is known and is followed by a value; what comes after "--" and
// flags that are not known stay where they are.
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
