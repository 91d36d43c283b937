// Package volume answers "with what files": it makes the volumes of a pod exist on the node and says where each is.
//
//	Disk/<name>                       emptyDir on disk
//	Memory/mounts/<name>              emptyDir in memory and of huge pages (a tmpfs or hugetlbfs each), nfs
//	Memory/config/                    one tmpfs of the pod, never swapped where the kernel can hold that:
//	    <name>/..data -> ..2026_…       configMap, secret, downwardAPI, projected
//	    <name>/key -> ..data/key
//	Memory/subpaths/<container>/<n>   the very inode that the n-th mount's subPath led to, as a bind mount
//
// A hostPath is where it is. Whatever a container can write is hostile: nothing here follows a link that a container may
// have made, except inside the volume, by file descriptor (subPath), and Remove never leaves the pod's directories.
//
// Everything is idempotent and may be cut off at any instruction: a directory appears under its name only when it is
// ready, a mount is looked for before it is made, and a volume's files are swapped by one rename.
package volume
