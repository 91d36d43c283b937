package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// monotonic is the clock that the app reads as well.
func monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it cannot fail with these arguments
	return time.Duration(now.Nano())
}

// stampPod is a pod whose app writes its time into dir/NAME.
func stampPod(name, dir string, hostNetwork bool) *v1.Pod {
	return &v1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PodSpec{
			HostNetwork:   hostNetwork,
			RestartPolicy: v1.RestartPolicyAlways,
			Containers: []v1.Container{{
				Name: "app", Image: stampImage, Command: []string{"/stamp", "/out/" + name}, ImagePullPolicy: v1.PullIfNotPresent,
				VolumeMounts: []v1.VolumeMount{{Name: "out", MountPath: "/out"}},
			}},
			Volumes: []v1.Volume{{Name: "out", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: dir}}}},
		},
	}
}

// stamps reads what an app has written so far: the time of each of its starts.
func stamps(dir, name string) []time.Duration {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil
	}
	var out []time.Duration
	for line := range bytes.Lines(b) {
		var ns, pid int64
		if _, err := fmt.Sscanf(string(line), "%d %d\n", &ns, &pid); err == nil {
			out = append(out, time.Duration(ns))
		}
	}
	return out
}

// waitStamp waits for the app's start number count and returns its time.
func (b *bench) waitStamp(dir, name string, count int) time.Duration {
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		if s := stamps(dir, name); len(s) >= count {
			return s[count-1]
		}
		if time.Now().After(deadline) {
			b.Fatalf("app %s has not started %d times within three minutes", name, count)
		}
	}
}

// stampProcess is the host's PID of an app, found by its arguments.
func (b *bench) stampProcess(name string) int {
	want := []byte("/stamp\x00/out/" + name + "\x00")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if args, err := os.ReadFile(filepath.Join(d, "cmdline")); err == nil && bytes.Equal(args, want) {
			pid := 0
			if _, err := fmt.Sscan(filepath.Base(d), &pid); err == nil {
				return pid
			}
		}
	}
	b.Fatalf("the process of app %s was not found", name)
	return 0
}

// goneAfter runs act and returns how long after its begin the process had ended.
func (b *bench) goneAfter(pid int, act func()) time.Duration {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		b.Fatalf("watching process %d: %v", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	began := monotonic()
	done := make(chan struct{})
	go func() { defer close(done); act() }()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
		if err == unix.EINTR {
			continue
		}
		took := monotonic() - began
		if err != nil || n == 0 {
			b.Fatalf("process %d did not end within a minute: %v", pid, err)
		}
		<-done
		return took
	}
}
