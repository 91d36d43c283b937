package containerd

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/moby/sys/user"
	v1 "k8s.io/api/core/v1"
)

// maxUserFile bounds /etc/passwd and /etc/group of an image.
const maxUserFile = 1 << 20

// maxID bounds user and group IDs: larger ones wrap to root in some kernels and tools (CVE-2024-40635).
const maxID = 1<<31 - 1

// readRoot reads the user files of an image, and looks at its volumes and working directory, through a read-only view of
// its root filesystem, resolved inside it by file descriptor.
func (x *images) readRoot(ctx context.Context, i *image) error {
	mounts, drop, err := x.view(ctx, "users-"+i.id.String(), i.chainID)
	if err != nil {
		return err
	}
	defer drop()
	return mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		for name, to := range map[string]*[]byte{"etc/passwd": &i.passwd, "etc/group": &i.group} {
			// An image without the file, or with one that cannot be resolved inside it, has no names.
			*to, _ = readInRoot(root, name, maxUserFile)
		}
		return i.readVolumes(root)
	})
}

// readInRoot reads a regular file below root; no link of the tree leads out of it.
func readInRoot(root, name string, most int64) ([]byte, error) {
	h, err := pathrs.OpenInRoot(root, name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > most {
		return nil, os.ErrNotExist
	}
	f, err := pathrs.Reopen(h, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// maxGroups bounds the groups that an image gives its user.
const maxGroups = 1024

// identityOf is who a container runs as.
type identityOf struct {
	uid, gid uint32
	groups   []uint32
	// byName is the user name of the image, when it gave no number: runAsNonRoot cannot trust it.
	byName string
}

// resolveUser turns the image's USER, or the manifest's runAsUser and runAsGroup, into numbers, with the groups that the
// image's /etc/group gives that user unless strict is set (supplementalGroupsPolicy).
func (i *image) resolveUser(runAsUser, runAsGroup *int64, strict bool) (identityOf, error) {
	spec, name := i.config.User, ""
	if runAsUser != nil {
		spec = strconv.FormatInt(*runAsUser, 10)
	}
	userPart, groupPart, hasGroup := strings.Cut(spec, ":")
	if userPart == "" {
		userPart = "0"
	}
	var who identityOf
	users, err := user.ParsePasswd(wellFormed(i.passwd, 2, 3))
	if err != nil {
		users = nil
	}
	found := false
	if n, err := strconv.ParseInt(userPart, 10, 64); err == nil {
		if n < 0 || n > maxID {
			return who, fmt.Errorf("user %q of the image is out of range (0 to %d)", userPart, maxID)
		}
		who.uid = uint32(n)
		for _, u := range users {
			if u.Uid == int(n) {
				if u.Gid < 0 || u.Gid > maxID {
					return who, fmt.Errorf("user %q of the image has an ID out of range", userPart)
				}
				who.gid, name = uint32(u.Gid), u.Name
				break
			}
		}
	} else {
		for _, u := range users {
			if u.Name == userPart {
				if u.Uid < 0 || u.Uid > maxID || u.Gid < 0 || u.Gid > maxID {
					return who, fmt.Errorf("user %q of the image has an ID out of range", userPart)
				}
				who.uid, who.gid, name, found = uint32(u.Uid), uint32(u.Gid), u.Name, true
				break
			}
		}
		if !found {
			return who, fmt.Errorf("the image's user %q is not in its /etc/passwd", userPart)
		}
		who.byName = userPart
	}
	groups, err := user.ParseGroup(wellFormed(i.group, 2))
	if err != nil {
		groups = nil
	}
	if hasGroup && runAsUser == nil {
		gid, err := groupID(groupPart, groups)
		if err != nil {
			return who, err
		}
		who.gid = gid
	}
	if runAsGroup != nil {
		if *runAsGroup < 0 || *runAsGroup > maxID {
			return who, fmt.Errorf("runAsGroup %d is out of range", *runAsGroup)
		}
		who.gid = uint32(*runAsGroup)
	}
	who.groups = []uint32{who.gid}
	if name == "" || strict {
		return who, nil
	}
	for _, g := range groups {
		if g.Gid >= 0 && g.Gid <= maxID && slices.Contains(g.List, name) {
			who.groups = addGroup(who.groups, uint32(g.Gid))
		}
		if len(who.groups) > maxGroups {
			return who, fmt.Errorf("the image's /etc/group has its user in more than %d groups", maxGroups)
		}
	}
	return who, nil
}

// wellFormed are the lines of a user file whose fields at these places are numbers: the parser takes what is missing, or no
// number, for 0, which is root.
func wellFormed(file []byte, places ...int) io.Reader {
	var b strings.Builder
	for line := range strings.Lines(string(file)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if !slices.ContainsFunc(places, func(at int) bool {
			if at >= len(fields) {
				return true
			}
			_, err := strconv.ParseInt(fields[at], 10, 64)
			return err != nil
		}) {
			b.WriteString(line)
		}
	}
	return strings.NewReader(b.String())
}

func groupID(part string, groups []user.Group) (uint32, error) {
	if n, err := strconv.ParseInt(part, 10, 64); err == nil {
		if n < 0 || n > maxID {
			return 0, fmt.Errorf("group %q of the image is out of range (0 to %d)", part, maxID)
		}
		return uint32(n), nil
	}
	for _, g := range groups {
		if g.Name == part && g.Gid >= 0 && g.Gid <= maxID {
			return uint32(g.Gid), nil
		}
	}
	return 0, fmt.Errorf("the image's group %q is not in its /etc/group", part)
}

func addGroup(list []uint32, g uint32) []uint32 {
	for _, x := range list {
		if x == g {
			return list
		}
	}
	return append(list, g)
}

// shown is the identity as a container's status shows it.
func (w identityOf) shown() *v1.LinuxContainerUser {
	u := &v1.LinuxContainerUser{UID: int64(w.uid), GID: int64(w.gid), SupplementalGroups: []int64{int64(w.gid)}}
	for _, g := range w.groups {
		if g != w.gid {
			u.SupplementalGroups = append(u.SupplementalGroups, int64(g))
		}
	}
	return u
}
