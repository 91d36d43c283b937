// Package dir answers "where do wants come from" for a directory of manifests.
//
//	fsnotify ─hint─▶ loop ──▶ scanner ──listing──▶ merge ──state──▶ store ──▶ Snapshot
//	timers ──wake──▶  ▲         (I/O)              (pure)           (disk)
//	                  └──────────── when to look again ◀──┘
//
// An event only ever means "look again": nothing is concluded from it but that a name came into its place complete. The
// scanner reads what changed, and nothing else does I/O on the directory. merge holds every rule about what is wanted: the
// last good version of a broken file, who owns a name, the removal of many pods at once, a directory that is unknown.
//
// One fsnotify watcher per directory watches it, the directories in which its name or a symbolic link on the way to it may
// change, and the targets of symbolic links in it. Two things are not told by fsnotify and are asked for: whether a writer
// closed a file (a read lease, tried after 10 ms and then less and less often), and whether a mount ended (a look by the
// clock).
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
// ConfigMaps and Secrets beside the pods follow the same rules, except that their removal alone is never held up. Each
// snapshot's pods are bound to the data of those they name (manifests.Bind); a change of that data alone is a new snapshot
// with the same UIDs.
//
// A directory that cannot be read moves no key at all.
package dir
