// Package logs keeps what containers print: it writes container output as CRI log files in the kubelet's layout, rotates
// them in line, and reads them back, following when asked.
//
//	FIFO ──Copy──▶ lines ──one write(2) per batch──▶ 0.log ──full──▶ 0.log.20060102-150405 ──▶ ….gz
//	                                                   │ notify                │
//	                                                   ▼                       ▼
//	                                        Hub ──▶ followers ◀── Read: oldest file first
//
// The laws:
//
//   - The application is never made to wait for more than one write to the page cache. A log disk that is full or broken
//     drops lines, counts them, and says so in the log once it works again (containerd#12462 hangs the container).
//   - Rotation happens in the write that would make the file too big, so that a flood cannot overshoot (the kubelet looks
//     every 10 s). All files of one container stay below 1.1 × MaxSize × MaxFiles, compression included.
//   - Complete lines are written right after the read that brought them. A stream that waits holds no buffer.
//   - Writers and readers meet in a Hub: no polling and no inotify.
package logs
