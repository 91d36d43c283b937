package containerd

import (
	"context"
	"fmt"
	"path"
	"strings"

	"edgepod.dev/agent/podmgr"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/moby/sys/signal"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// refused is the error of an image that a pod cannot have. When what its reference names is no image at all but another kind
// of OCI artifact, such as oras pushes, it says so: containerd speaks of layers that do not match.
func (x *images) refused(ctx context.Context, name string, err error) error {
	const most = 100 // of a media type, which is the registry's word
	if img, gerr := x.client.GetImage(ctx, name); gerr == nil {
		config, cerr := img.Config(ctx)
		if kind := config.MediaType; cerr == nil && !ctrimages.IsConfigType(kind) {
			err = fmt.Errorf("it is an OCI artifact (%q) and no image: %w", kind[:min(len(kind), most)], err)
		}
	}
	return &podmgr.ReasonError{Reason: "ErrImagePull", Err: err}
}

// What an image may put into its configuration. The configuration is hostile input: it is kept in a database, in specs and
// in messages, so everything in it is bounded, well above what real images have.
const (
	maxImageEnv     = 4096      // variables
	maxImageArgs    = 4096      // words of entrypoint and command together
	maxImageWord    = 128 << 10 // bytes of one of either: more the kernel does not take (MAX_ARG_STRLEN)
	maxImageWords   = 1 << 20   // bytes of all of either
	maxImagePath    = 4095      // PATH_MAX, without its NUL
	maxImageUser    = 256
	maxImageVolumes = 128
)

// checkImageConfig refuses what no honest image has. Its messages never quote what is too long.
func checkImageConfig(c *ocispec.ImageConfig) error {
	if err := checkWords("environment", c.Env, maxImageEnv); err != nil {
		return err
	}
	if err := checkWords("entrypoint", c.Entrypoint, maxImageArgs); err != nil {
		return err
	}
	if err := checkWords("command", c.Cmd, maxImageArgs-min(maxImageArgs, len(c.Entrypoint))); err != nil {
		return err
	}
	for what, p := range map[string]string{"program": first(c.Entrypoint, c.Cmd), "working directory": c.WorkingDir} {
		if len(p) > maxImagePath || strings.ContainsRune(p, 0) {
			return fmt.Errorf("the image's %s is no path: %d bytes", what, len(p))
		}
	}
	if len(c.User) > maxImageUser || strings.ContainsAny(c.User, "\x00\n") {
		return fmt.Errorf("the image's user is no name: %d bytes", len(c.User))
	}
	if len(c.Volumes) > maxImageVolumes {
		return fmt.Errorf("the image has %d volumes, more than %d", len(c.Volumes), maxImageVolumes)
	}
	for v := range c.Volumes {
		if err := checkImageVolume(v); err != nil {
			return err
		}
	}
	return nil
}

// first is the first word of what would be run.
func first(lists ...[]string) string {
	for _, l := range lists {
		if len(l) > 0 {
			return l[0]
		}
	}
	return ""
}

func checkWords(what string, words []string, most int) error {
	if len(words) > most {
		return fmt.Errorf("the image's %s has %d words, more than %d", what, len(words), most)
	}
	sum := 0
	for _, w := range words {
		sum += len(w)
		if len(w) > maxImageWord || sum > maxImageWords {
			return fmt.Errorf("the image's %s is too long", what)
		}
		if strings.ContainsRune(w, 0) {
			return fmt.Errorf("the image's %s has a NUL", what)
		}
	}
	return nil
}

// checkImageVolume refuses volumes that are not a directory of the image's own (CVE-2022-23648).
func checkImageVolume(v string) error {
	if len(v) > maxImagePath || strings.ContainsRune(v, 0) {
		return fmt.Errorf("a volume of the image is no path: %d bytes", len(v))
	}
	clean := path.Clean(v)
	if !path.IsAbs(v) || clean == "/" {
		return fmt.Errorf("volume %q of the image: mount path must be absolute, and not the root", v)
	}
	if bad := kernelDir(clean); bad != "" {
		return fmt.Errorf("volume %q of the image lies below %s, which is not allowed", v, bad)
	}
	return nil
}

// kernelDir is the directory of the kernel's that a clean absolute path leads into; empty: none.
func kernelDir(dir string) string {
	for _, bad := range []string{"/proc", "/sys", "/dev"} {
		if dir == bad || strings.HasPrefix(dir, bad+"/") {
			return bad
		}
	}
	return ""
}

// parseStopSignal reads a STOPSIGNAL: a name, or a number that is a signal. Nonsense is none.
func parseStopSignal(s string) (unix.Signal, bool) {
	const longest, realtimeMost = 16, 64
	if s == "" || len(s) > longest {
		return 0, false
	}
	sig, err := signal.ParseSignal(s)
	return sig, err == nil && sig > 0 && sig <= realtimeMost
}
