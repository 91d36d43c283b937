package logs

import (
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// DefaultRoot is where the kubelet keeps pod logs, and where log shippers look for them.
const DefaultRoot = "/var/log/pods"

// PodDir is the directory of all logs of one pod: <root>/<namespace>_<name>_<uid>.
func PodDir(root, namespace, name string, uid types.UID) string {
	return filepath.Join(root, namespace+"_"+name+"_"+string(uid))
}

// File is the log of one instance of a container: <pod dir>/<container>/<attempt>.log.
func File(root, namespace, name string, uid types.UID, container string, attempt int) string {
	return filepath.Join(PodDir(root, namespace, name, uid), container, fmt.Sprintf("%d.log", attempt))
}

// gzSuffix marks a compressed rotated file, tmpSuffix one that is being compressed.
const (
	gzSuffix  = ".gz"
	tmpSuffix = ".tmp"
)

// rotatedLayout is the kubelet's suffix of a rotated file; a fourth part ".0001" follows when one second sees several.
const rotatedLayout = "20060102-150405"

// rotatedStamp returns the part of a rotated file's name that orders it ("20060102-150405" or "20060102-150405.0001"), or
// "" when name is not a rotated file of the log called base.
func rotatedStamp(base, name string) string {
	s, ok := strings.CutPrefix(name, base+".")
	if !ok || strings.HasSuffix(s, tmpSuffix) {
		return ""
	}
	s = strings.TrimSuffix(s, gzSuffix)
	if len(s) < len(rotatedLayout) || s[8] != '-' {
		return ""
	}
	for i, c := range s {
		if (c < '0' || c > '9') && i != 8 && i != len(rotatedLayout) {
			return ""
		}
	}
	return s
}
