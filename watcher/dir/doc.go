// Package dir answers "where do wants come from" for a directory of manifests.
//
//	inotify ─hint─▶ loop ──▶ scanner ──listing──▶ merge ──state──▶ store ──▶ Snapshot
//	timers ─wake──▶  ▲         (I/O)              (pure)           (disk)
//	                 └──────────── when to look again ◀──┘
//
// An event only ever means "look again": nothing is concluded from it but that a name was moved into place. The scanner
// reads what changed, and nothing else does I/O on the directory. merge holds every rule about what is wanted: the last
// good version of a broken file, who owns a name, the removal of many pods at once, a directory that is unknown.
//
// One pod key, as merge sees it:
//
//	        document appears                 document bad, file held or unreadable
//	(none) ─────────────────▶ wanted ◀──────────────────────────────────────────▶ kept (last good version, a Problem)
//	   ▲                       │  ▲
//	   │                  gone │  │ back, or the same pod in another file
//	   │  confirmed            ▼  │
//	   └─────────────────── missing ──more than half at once──▶ on hold (grace, a Problem) ──▶ (none)
//
// A directory that cannot be read moves no key at all.
//
// The inotify calls are made directly (golang.org/x/sys/unix) rather than through fsnotify, for three things it does
// not offer: IN_CLOSE_WRITE, without which a file written in place is seen late or has to be polled; a watch on the very
// inode that is being listed, through its descriptor; and events that stay in the kernel's queue while nobody asks,
// so that a storm of them costs nothing.
package dir
